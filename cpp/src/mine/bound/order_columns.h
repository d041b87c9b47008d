// The order of rows as columns of a file, and back.
#pragma once

#include <cstdint>

#include "io/tensor_columns.h"
#include "mine/bound/row_order.h"

namespace helip::mining {

// The order stays where it is.
void show_order(const RowOrder& order, TensorColumns& columns);
// Of a corpus of so many rows, its centres of so many directions. Throws Error(corrupt) where it
// cannot be one of these.
RowOrder read_order(const TensorFile& file, std::int64_t rows, std::int64_t directions);

}  // namespace helip::mining
