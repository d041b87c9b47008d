#include "helip/matrix.h"

#include <algorithm>
#include <array>

#include "base/half.h"
#include "base/refuse.h"
#include "base/text.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace helip {
namespace {

struct DTypeInfo {
  DType dtype;
  const char* name;
  std::int64_t size;
};

constexpr std::array<DTypeInfo, 9> kDTypes{{
    {DType::float64, "float64", 8},
    {DType::float32, "float32", 4},
    {DType::float16, "float16", 2},
    {DType::bfloat16, "bfloat16", 2},
    {DType::int8, "int8", 1},
    {DType::uint8, "uint8", 1},
    {DType::int32, "int32", 4},
    {DType::int64, "int64", 8},
    {DType::uint64, "uint64", 8},
}};

template <typename From, typename To>
void convert(const void* row, std::int64_t cols, To* out) noexcept {
  const auto* values = static_cast<const From*>(row);
  for (std::int64_t j = 0; j < cols; ++j) out[j] = static_cast<To>(values[j]);
}

#if defined(__x86_64__) && defined(__GNUC__)
// Eight at a time where the processor converts in hardware; same values as the portable loop.
__attribute__((target("avx,f16c"))) std::int64_t convert_float16_f16c(const std::uint16_t* values,
                                                                      std::int64_t cols,
                                                                      float* out) noexcept {
  std::int64_t j = 0;
  for (; j + 8 <= cols; j += 8) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values + j));
    _mm256_storeu_ps(out + j, _mm256_cvtph_ps(half));
  }
  return j;
}
const bool kHasF16c = __builtin_cpu_supports("f16c") != 0;
#endif

template <typename To>
void convert_float16(const void* row, std::int64_t cols, To* out) noexcept {
  const auto* values = static_cast<const std::uint16_t*>(row);
  std::int64_t j = 0;
#if defined(__x86_64__) && defined(__GNUC__)
  if constexpr (std::is_same_v<To, float>) {
    if (kHasF16c) j = convert_float16_f16c(values, cols, out);
  }
#endif
  for (; j < cols; ++j) out[j] = static_cast<To>(float_from_float16(values[j]));
}

template <typename To>
void read_row_as(const MatrixView& view, std::int64_t i, To* out) noexcept {
  const void* row = view.row(i);
  switch (view.dtype) {
    case DType::float64: return convert<double>(row, view.cols, out);
    case DType::float32: return convert<float>(row, view.cols, out);
    case DType::float16: return convert_float16(row, view.cols, out);
    case DType::bfloat16: {
      const auto* values = static_cast<const std::uint16_t*>(row);
      for (std::int64_t j = 0; j < view.cols; ++j) {
        out[j] = static_cast<To>(float_from_bfloat16(values[j]));
      }
      return;
    }
    case DType::int8: {
      const To scale = view.scale == nullptr ? To{1} : static_cast<To>(view.scale[i]);
      const auto* codes = static_cast<const std::int8_t*>(row);
      for (std::int64_t j = 0; j < view.cols; ++j) out[j] = static_cast<To>(codes[j]) * scale;
      return;
    }
    case DType::uint8: return convert<std::uint8_t>(row, view.cols, out);
    case DType::int32: return convert<std::int32_t>(row, view.cols, out);
    case DType::int64: return convert<std::int64_t>(row, view.cols, out);
    case DType::uint64: return convert<std::uint64_t>(row, view.cols, out);
  }
}

}  // namespace

std::int64_t size_of(DType dtype) noexcept { return kDTypes[static_cast<std::size_t>(dtype)].size; }

const char* name_of(DType dtype) noexcept { return kDTypes[static_cast<std::size_t>(dtype)].name; }

DType dtype_from_name(const std::string& name) {
  const auto found = std::find_if(kDTypes.begin(), kDTypes.end(),
                                  [&](const DTypeInfo& info) { return name == info.name; });
  if (found != kDTypes.end()) return found->dtype;
  refuse("dtype \"", excerpt(name),
         "\" is unknown; use float64, float32, float16, bfloat16 or int8");
}

void MatrixView::check(const char* name) const {
  const std::int64_t width = size_of(dtype);
  std::int64_t row_bytes = 0;
  std::int64_t bytes = 0;
  if (rows < 0 || cols < 0) {
    refuse(name, " has the shape [", rows, ", ", cols, "]; neither may be below 0");
  }
  if (__builtin_mul_overflow(cols, width, &row_bytes)) {
    refuse(name, " has ", cols, " columns of ", width, " bytes, more than can be addressed");
  }
  if (rows > 1 && (row_stride < row_bytes || row_stride % width != 0)) {
    refuse(name, " has a stride of ", row_stride, " bytes; rows of ", cols, " ", name_of(dtype),
           " need ", row_bytes, " or more, a multiple of ", width,
           (row_stride < 0 ? "; copy it to have its rows in rising order" : ""));
  }
  if (rows > 1 && (__builtin_mul_overflow(rows - 1, row_stride, &bytes) ||
                   __builtin_add_overflow(bytes, row_bytes, &bytes))) {
    refuse(name, " has ", rows, " rows at ", row_stride, " bytes, more than can be addressed");
  }
  if (rows == 0 || cols == 0) return;
  if (data == nullptr) {
    refuse(name, " of shape [", rows, ", ", cols, "] has no data (a null pointer)");
  }
  if (reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(width) != 0) {
    refuse(name, " does not lie at a multiple of ", width, " bytes, as ", name_of(dtype),
           " must; copy it");
  }
}

MatrixView MatrixView::of(const void* data, DType dtype, std::int64_t rows, std::int64_t cols,
                          std::int64_t row_stride) {
  MatrixView view{data, rows, cols, dtype, row_stride};
  if (row_stride == 0 && __builtin_mul_overflow(cols, size_of(dtype), &view.row_stride)) {
    view.row_stride = 0;  // check() says why
  }
  view.check();
  return view;
}

MatrixView MatrixView::of(const double* data, std::int64_t rows, std::int64_t cols,
                          std::int64_t row_stride) {
  return of(data, DType::float64, rows, cols, row_stride);
}

MatrixView MatrixView::of(const float* data, std::int64_t rows, std::int64_t cols,
                          std::int64_t row_stride) {
  return of(data, DType::float32, rows, cols, row_stride);
}

MatrixView MatrixView::of(const std::int32_t* data, std::int64_t rows, std::int64_t cols,
                          std::int64_t row_stride) {
  return of(data, DType::int32, rows, cols, row_stride);
}

MatrixView MatrixView::of(const std::int64_t* data, std::int64_t rows, std::int64_t cols,
                          std::int64_t row_stride) {
  return of(data, DType::int64, rows, cols, row_stride);
}

MatrixView MatrixView::of(const std::uint16_t* bits, DType dtype, std::int64_t rows,
                          std::int64_t cols, std::int64_t row_stride) {
  if (dtype != DType::float16 && dtype != DType::bfloat16) {
    refuse("halves cannot be ", name_of(dtype), "; use float16 or bfloat16");
  }
  return of(static_cast<const void*>(bits), dtype, rows, cols, row_stride);
}

MatrixView MatrixView::of(const std::int8_t* codes, const float* scale, std::int64_t rows,
                          std::int64_t cols, std::int64_t row_stride) {
  if (scale == nullptr && rows > 0) refuse("codes of int8 need a scale for each row");
  MatrixView view = of(codes, DType::int8, rows, cols, row_stride);
  view.scale = scale;
  return view;
}

namespace {

// Throws where the numbers are not so many.
void check_count(std::size_t count, std::int64_t rows, std::int64_t cols) {
  std::int64_t places = 0;
  if (rows < 0 || cols < 0 || __builtin_mul_overflow(rows, cols, &places) ||
      static_cast<std::uint64_t>(places) != count) {
    refuse(count, " values are no matrix of shape [", rows, ", ", cols, "]");
  }
}

}  // namespace

MatrixView MatrixView::of(std::span<const double> values, std::int64_t rows, std::int64_t cols) {
  check_count(values.size(), rows, cols);
  return of(values.data(), rows, cols);
}

MatrixView MatrixView::of(std::span<const float> values, std::int64_t rows, std::int64_t cols) {
  check_count(values.size(), rows, cols);
  return of(values.data(), rows, cols);
}

void read_row(const MatrixView& view, std::int64_t i, double* out) noexcept {
  read_row_as(view, i, out);
}

void read_row(const MatrixView& view, std::int64_t i, float* out) noexcept {
  read_row_as(view, i, out);
}

}  // namespace helip
