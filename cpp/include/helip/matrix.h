// A read-only view of a row-major matrix that somebody else owns.
#pragma once

#include <cstdint>
#include <string>

#include "helip/export.h"

namespace helip {

enum class DType { float64, float32, float16, bfloat16, int8, uint8, int32, int64, uint64 };

HELIP_EXPORT std::int64_t size_of(DType dtype) noexcept;      // bytes an element
HELIP_EXPORT const char* name_of(DType dtype) noexcept;       // "float32", ...
HELIP_EXPORT DType dtype_from_name(const std::string& name);  // throws invalid_argument

// Element (i, j) lies at data + i * row_stride + j * size_of(dtype). The view neither owns nor
// copies; the owner must outlive it. Safe to read from many threads.
struct MatrixView {
  const void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DType dtype = DType::float32;
  std::int64_t row_stride = 0;   // bytes; at least cols * size_of(dtype), or 0 when rows <= 1
  const float* scale = nullptr;  // [rows], int8 only: value = code * scale[row]
  // [rows]; mining takes a row whose mark is not 0 for a row of zeros. nullptr: none is deleted.
  const std::uint8_t* deleted = nullptr;

  const void* row(std::int64_t i) const noexcept {
    return static_cast<const char*>(data) + i * row_stride;
  }
};

// Converts row i to float64 / float32: out [cols]. int8 rows are multiplied by their scale.
HELIP_EXPORT void read_row(const MatrixView& view, std::int64_t i, double* out) noexcept;
HELIP_EXPORT void read_row(const MatrixView& view, std::int64_t i, float* out) noexcept;

}  // namespace helip
