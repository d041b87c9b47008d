// Progress and cancellation of the C interface.
#pragma once

#include <helip.h>

#include "helip/progress.h"

namespace helip::c {

// What asks the callback and the flag. Empty where the caller gave neither. Throws Error: cancelled
// where the flag is set already, invalid_argument.
ProgressCallback progress_of(const helip_control* control);

}  // namespace helip::c
