// A read-only view of a row-major matrix that somebody else owns.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "helip/export.h"

namespace helip {

enum class DType { float64, float32, float16, bfloat16, int8, uint8, int32, int64, uint64 };

[[nodiscard]] HELIP_EXPORT std::int64_t size_of(DType dtype) noexcept;  // bytes an element
[[nodiscard]] HELIP_EXPORT const char* name_of(DType dtype) noexcept;   // "float32", ...
// Throws invalid_argument.
[[nodiscard]] HELIP_EXPORT DType dtype_from_name(const std::string& name);

// Element (i, j) lies at data + i * row_stride + j * size_of(dtype). The view neither owns nor
// copies; the owner must outlive it. Safe to read from many threads.
//
// Make one by of(): the fields are not checked when they are set.
struct HELIP_EXPORT MatrixView {
  const void* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  DType dtype = DType::float32;
  std::int64_t row_stride = 0;   // bytes; at least cols * size_of(dtype), or 0 when rows <= 1
  const float* scale = nullptr;  // [rows], int8 only: value = code * scale[row]
  // [rows]; mining takes a row whose mark is not 0 for a row of zeros. nullptr: none is deleted.
  const std::uint8_t* deleted = nullptr;

  // Views of numbers that lie row after row, or `row_stride` bytes apart. Throw invalid_argument:
  // no data, a shape or a stride that cannot be, more bytes than a machine can address.
  [[nodiscard]] static MatrixView of(const double* data, std::int64_t rows, std::int64_t cols,
                                     std::int64_t row_stride = 0);
  [[nodiscard]] static MatrixView of(const float* data, std::int64_t rows, std::int64_t cols,
                                     std::int64_t row_stride = 0);
  [[nodiscard]] static MatrixView of(const std::int32_t* data, std::int64_t rows, std::int64_t cols,
                                     std::int64_t row_stride = 0);
  [[nodiscard]] static MatrixView of(const std::int64_t* data, std::int64_t rows, std::int64_t cols,
                                     std::int64_t row_stride = 0);
  // float16 or bfloat16, as bits.
  [[nodiscard]] static MatrixView of(const std::uint16_t* bits, DType dtype, std::int64_t rows,
                                     std::int64_t cols, std::int64_t row_stride = 0);
  // value = code * scale[row].
  [[nodiscard]] static MatrixView of(const std::int8_t* codes, const float* scale,
                                     std::int64_t rows, std::int64_t cols,
                                     std::int64_t row_stride = 0);
  // Of exactly rows * cols numbers.
  [[nodiscard]] static MatrixView of(std::span<const double> values, std::int64_t rows,
                                     std::int64_t cols);
  [[nodiscard]] static MatrixView of(std::span<const float> values, std::int64_t rows,
                                     std::int64_t cols);
  // Of a dtype that is known when the program runs.
  [[nodiscard]] static MatrixView of(const void* data, DType dtype, std::int64_t rows,
                                     std::int64_t cols, std::int64_t row_stride = 0);

  // Throws invalid_argument as of() does; `name` is what the message calls the matrix.
  void check(const char* name = "the matrix") const;

  [[nodiscard]] const void* row(std::int64_t i) const noexcept {
    return static_cast<const char*>(data) + i * row_stride;
  }
};

// Converts row i to float64 / float32: out [cols]. int8 rows are multiplied by their scale.
HELIP_EXPORT void read_row(const MatrixView& view, std::int64_t i, double* out) noexcept;
HELIP_EXPORT void read_row(const MatrixView& view, std::int64_t i, float* out) noexcept;

}  // namespace helip
