#include "table/store/row_encoding.h"

#include <algorithm>
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

}  // namespace

void check_storable(const MatrixView& view, const char* name, std::int64_t first, DType dtype) {
  std::vector<double> row(static_cast<std::size_t>(view.cols));
  const double limit = limit_of(dtype);
  for (std::int64_t i = 0; i < view.rows; ++i) {
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

void encode_rows(const float* values, std::int64_t rows, std::int64_t cols, DType dtype, char* out,
                 float* scale) {
  const std::int64_t n = rows * cols;
  if (dtype == DType::float32) {
    std::memcpy(out, values, static_cast<std::size_t>(n) * sizeof(float));
  } else if (dtype == DType::int8) {
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
