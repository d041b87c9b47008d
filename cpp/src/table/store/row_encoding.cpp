#include "table/store/row_encoding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "base/refuse.h"

namespace helip {
namespace {

// The largest magnitude that a dtype can hold; beyond it a value would become infinite.
float limit_of(DType dtype) {
  if (dtype == DType::float16) return 65504.0F;
  if (dtype == DType::bfloat16) return 3.3895314e38F;
  return 3.4028235e38F;
}

// Magnitudes order as their bits do without the sign, infinity and NaN last: the row is told at the
// speed of memory, where converting each value takes ten times as long.
template <typename Bits>
bool are_bits_up_to(const void* row, std::int64_t cols, Bits limit) {
  constexpr Bits kMagnitude = static_cast<Bits>(~Bits{0}) >> 1;
  const auto* values = static_cast<const Bits*>(row);
  Bits largest = 0;
  for (std::int64_t j = 0; j < cols; ++j) {
    largest = std::max(largest, static_cast<Bits>(values[j] & kMagnitude));
  }
  return largest <= limit;
}

// Whether all values of row i are within the limit; false where that takes a closer look.
bool is_row_up_to(const MatrixView& view, std::int64_t i, float limit) {
  const void* row = view.row(i);
  switch (view.dtype) {
    case DType::float32: return are_bits_up_to(row, view.cols, std::bit_cast<std::uint32_t>(limit));
    case DType::float64:
      return are_bits_up_to(row, view.cols, std::bit_cast<std::uint64_t>(double{limit}));
    case DType::float16: return are_bits_up_to<std::uint16_t>(row, view.cols, 0x7bffU);
    case DType::bfloat16: {
      const auto bits = std::bit_cast<std::uint32_t>(limit);
      return are_bits_up_to(row, view.cols, static_cast<std::uint16_t>(bits >> 16));
    }
    default: return false;
  }
}

}  // namespace

void check_storable(const MatrixView& view, const char* name, std::int64_t first, DType dtype) {
  std::vector<double> row(static_cast<std::size_t>(view.cols));
  const float limit = limit_of(dtype);
  for (std::int64_t i = 0; i < view.rows; ++i) {
    if (is_row_up_to(view, i, limit)) continue;
    read_row(view, i, row.data());
    for (std::int64_t j = 0; j < view.cols; ++j) {
      const double value = row[static_cast<std::size_t>(j)];
      if (std::fabs(value) <= limit) continue;
      refuse(name, " row ", first + i, " (row ", i, " of this call) has ", value, " in column ", j,
             "; a store of ", name_of(dtype), " holds finite values up to ", limit,
             "; check the encoder");
    }
  }
}

void encode_rows(const MatrixView& view, std::int64_t first, std::int64_t rows, DType dtype,
                 float* scratch, char* out, float* scale) {
  const std::int64_t cols = view.cols;
  if (view.dtype == dtype && dtype != DType::int8) {
    const auto bytes = static_cast<std::size_t>(cols * size_of(dtype));
    for (std::int64_t i = 0; i < rows; ++i)
      std::memcpy(out + i * bytes, view.row(first + i), bytes);
    return;
  }
  float* const values = dtype == DType::float32 ? reinterpret_cast<float*>(out) : scratch;
  for (std::int64_t i = 0; i < rows; ++i) read_row(view, first + i, values + i * cols);
  if (dtype == DType::float32) return;
  const std::int64_t n = rows * cols;
  if (dtype == DType::int8) {
    for (std::int64_t i = 0; i < rows; ++i) {
      const float* row = values + i * cols;
      float largest = 0;
      for (std::int64_t j = 0; j < cols; ++j) largest = std::max(largest, std::fabs(row[j]));
      scale[i] = largest / 127.0F;
      auto* codes = reinterpret_cast<std::int8_t*>(out) + i * cols;
      for (std::int64_t j = 0; j < cols; ++j) {
        // Dividing by the largest first keeps subnormal rows exact enough.
        const float unit = largest > 0 ? row[j] / largest : 0.0F;
        codes[j] = static_cast<std::int8_t>(std::lrintf(unit * 127.0F));
      }
    }
  } else {
    auto* halves = reinterpret_cast<std::uint16_t*>(out);
    const bool brain = dtype == DType::bfloat16;
    for (std::int64_t j = 0; j < n; ++j) {
      halves[j] = brain ? bfloat16_from_float(values[j]) : float16_from_float(values[j]);
    }
  }
}

}  // namespace helip
