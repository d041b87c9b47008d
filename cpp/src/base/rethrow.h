// One kind of exception leaves the library.
#pragma once

#include "helip/export.h"

namespace helip {

// For the handler of a public function that may allocate:
//     catch (...) { rethrow_as_error(); }
// An allocation that failed is Error(out_of_memory); all else goes on as it is.
[[noreturn]] HELIP_FOR_DATA void rethrow_as_error();

}  // namespace helip
