#include "c/c_matrix.h"

#include "c/c_status.h"

namespace helip::c {

static_assert(static_cast<int>(DType::float64) == HELIP_FLOAT64);
static_assert(static_cast<int>(DType::float32) == HELIP_FLOAT32);
static_assert(static_cast<int>(DType::float16) == HELIP_FLOAT16);
static_assert(static_cast<int>(DType::bfloat16) == HELIP_BFLOAT16);
static_assert(static_cast<int>(DType::int8) == HELIP_INT8);
static_assert(static_cast<int>(DType::uint8) == HELIP_UINT8);
static_assert(static_cast<int>(DType::int32) == HELIP_INT32);
static_assert(static_cast<int>(DType::int64) == HELIP_INT64);
static_assert(static_cast<int>(DType::uint64) == HELIP_UINT64);

DType dtype_of(std::int32_t number, const char* name) {
  return checked_enum(number, DType::uint64, name);
}

std::int32_t number_of(DType dtype) noexcept { return static_cast<std::int32_t>(dtype); }

MatrixView view_of(const helip_matrix* matrix, const char* name) {
  const helip_matrix& given = required(matrix, name);
  if (given.reserved != 0) {
    refuse(name, ".reserved is ", given.reserved, ", but must be 0; set the whole structure");
  }
  MatrixView view;
  view.data = given.data;
  view.rows = given.rows;
  view.cols = given.cols;
  view.dtype = dtype_of(given.dtype, "the dtype of a matrix");
  view.row_stride = given.row_stride;
  view.scale = given.scale;
  view.deleted = given.deleted;
  // A shape that cannot be is refused below, before it is multiplied.
  constexpr std::int64_t kMostCols = std::int64_t{1} << 56;
  if (view.row_stride == 0 && view.cols >= 0 && view.cols < kMostCols) {
    view.row_stride = view.cols * size_of(view.dtype);
  }
  view.check(name);
  if (view.dtype == DType::int8 && view.scale == nullptr && view.rows > 0) {
    refuse(name, " holds int8 codes, but its scale is NULL; give a scale for each row");
  }
  return view;
}

helip_matrix matrix_of(const MatrixView& view) noexcept {
  return {view.data,
          view.rows,
          view.cols,
          view.row_stride,
          view.scale,
          view.deleted,
          number_of(view.dtype),
          0};
}

}  // namespace helip::c
