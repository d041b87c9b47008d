#include "table/store/row_encoding.h"

#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/half.h"
#include "helip/error.h"

using namespace helip;

namespace {

constexpr DType kFloats[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16};

double largest_of(DType dtype) {
  switch (dtype) {
    case DType::float64: return std::numeric_limits<double>::max();
    case DType::float32: return std::numeric_limits<float>::max();
    case DType::float16: return 65504.0;
    default: return static_cast<double>(float_from_bfloat16(0x7f7f));
  }
}

// The value nearest to `value` of those of `dtype`, as bytes.
std::vector<char> stored(DType dtype, double value) {
  std::vector<char> bytes(static_cast<std::size_t>(size_of(dtype)));
  const auto narrow = static_cast<float>(value);
  const std::uint16_t half =
      dtype == DType::float16 ? float16_from_float(narrow) : bfloat16_from_float(narrow);
  const void* from = &value;
  if (dtype == DType::float32) from = &narrow;
  if (size_of(dtype) == 2) from = &half;
  std::memcpy(bytes.data(), from, bytes.size());
  return bytes;
}

MatrixView row_of(const std::vector<char>& bytes, DType dtype) {
  MatrixView view;
  view.data = bytes.data();
  view.rows = 1;
  view.cols = static_cast<std::int64_t>(bytes.size()) / size_of(dtype);
  view.dtype = dtype;
  view.row_stride = static_cast<std::int64_t>(bytes.size());
  return view;
}

std::vector<char> joined(const std::vector<double>& values, DType dtype) {
  std::vector<char> bytes;
  for (const double value : values) {
    const std::vector<char> one = stored(dtype, value);
    bytes.insert(bytes.end(), one.begin(), one.end());
  }
  return bytes;
}

}  // namespace

TEST_CASE("a value is stored if it is finite and within what the dtype holds") {
  const double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> values{
      0.0,     1e-45,   1e-40,   1.0,      65503.0,
      65504.0, 65505.0, 65519.0, 65520.0,  3.3e38,
      3.39e38, 3.4e38,  1e39,    infinity, std::numeric_limits<double>::quiet_NaN()};
  for (const DType dtype : kFloats) {
    const double largest = largest_of(dtype);
    values.push_back(largest);
    values.push_back(std::nextafter(largest, infinity));
    values.push_back(std::nextafter(static_cast<float>(largest), INFINITY));
  }
  for (const DType from : kFloats) {
    for (const DType to : {DType::float32, DType::float16, DType::bfloat16, DType::int8}) {
      for (const double value : values) {
        for (const double sign : {1.0, -1.0}) {
          // Between others, so that no place of a row escapes.
          std::vector<double> row(19, 0.5);
          row[11] = sign * value;
          const std::vector<char> bytes = joined(row, from);
          double read[19];
          read_row(row_of(bytes, from), 0, read);
          const double limit = to == DType::int8 ? largest_of(DType::float32) : largest_of(to);
          bool refused = false;
          try {
            check_storable(row_of(bytes, from), "image", 0, to);
          } catch (const Error& error) {
            refused = error.code() == ErrorCode::invalid_argument;
          }
          INFO(name_of(from) << " to " << name_of(to) << ": " << read[11]);
          CHECK(refused == !(std::fabs(read[11]) <= limit));
        }
      }
    }
  }
}

TEST_CASE("rows are stored as the nearest values, and those of the same dtype as they are") {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal(0.0, 3.0);
  constexpr int kRows = 9, kCols = 37;
  for (const DType from : kFloats) {
    std::vector<double> values(kRows * kCols);
    for (double& value : values) value = normal(random);
    values[5] = 1e-7;  // below what float16 holds whole
    const std::vector<char> bytes = joined(values, from);
    MatrixView view = row_of(bytes, from);
    view.rows = kRows;
    view.cols = kCols;
    view.row_stride = kCols * size_of(from);
    for (const DType to : {DType::float32, DType::float16, DType::bfloat16}) {
      INFO(name_of(from) << " to " << name_of(to));
      std::vector<char> out((kRows - 2) * kCols * static_cast<std::size_t>(size_of(to)));
      std::vector<float> scratch((kRows - 2) * kCols);
      encode_rows(view, 2, kRows - 2, to, scratch.data(), out.data(), nullptr);
      std::vector<char> expected;
      for (int i = 2; i < kRows; ++i) {
        float row[kCols];
        read_row(view, i, row);
        for (const float value : row) {
          const std::vector<char> one = stored(to, static_cast<double>(value));
          expected.insert(expected.end(), one.begin(), one.end());
        }
      }
      CHECK(out == expected);
      if (from == to) {
        CHECK(std::memcmp(out.data(), view.row(2), out.size()) == 0);
      }
    }
  }
}
