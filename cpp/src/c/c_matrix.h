// Matrices of the C interface, and those of the core.
#pragma once

#include <helip.h>

#include <cstdint>

#include "base/refuse.h"
#include "helip/matrix.h"

namespace helip::c {

// Throw Error(invalid_argument): NULL, another dtype, what MatrixView::of() refuses.
MatrixView view_of(const helip_matrix* matrix, const char* name);
DType dtype_of(std::int32_t number, const char* name);

helip_matrix matrix_of(const MatrixView& view) noexcept;
std::int32_t number_of(DType dtype) noexcept;

// Throws Error(invalid_argument) unless 0 <= value <= last.
template <typename Enum>
Enum checked_enum(std::int32_t value, Enum last, const char* name) {
  const auto most = static_cast<std::int32_t>(last);
  if (value < 0 || value > most) {
    refuse(name, " is ", value, ", but must be between 0 and ", most,
           "; helip.h names these numbers");
  }
  return static_cast<Enum>(value);
}

}  // namespace helip::c
