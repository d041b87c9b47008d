// The checks of ImageTransformOptions.
#pragma once

#include "helip/image_transform.h"

namespace helip::image {

// Throws invalid_argument: the value, its bound, and what to do.
void check_options(const ImageTransformOptions& options);

}  // namespace helip::image
