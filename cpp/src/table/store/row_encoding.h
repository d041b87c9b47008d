// Rows as a store holds them: converted to its dtype, after a look whether it can hold them.
#pragma once

#include <cstdint>

#include "helip/matrix.h"

namespace helip {

// Throws invalid_argument at the first value that is not finite, or beyond what `dtype` holds. The
// view's row 0 is row `first` of the store.
void check_storable(const MatrixView& view, const char* name, std::int64_t first, DType dtype);

// Converts the rows of `view` from `first` on to float32, float16, bfloat16 or int8; rows of that
// dtype are copied. `scratch` [rows, cols] is written over. `scale` [rows] is filled for int8
// alone, so that the largest magnitude of a row maps to 127.
void encode_rows(const MatrixView& view, std::int64_t first, std::int64_t rows, DType dtype,
                 float* scratch, char* out, float* scale);

}  // namespace helip
