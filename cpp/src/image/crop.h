// Which part of an upright image becomes the result, and where it lies in it.
#pragma once

#include "base/counter_random.h"
#include "helip/image_transform.h"
#include "image/axis.h"
#include "image/decode/image.h"

namespace helip::image {

// rows.count x columns.count pixels of the result from (top, left) on; the rest is filled.
struct Crop {
  Axis rows;
  Axis columns;
  int64_t top = 0;
  int64_t left = 0;
};

// The part that torchvision's RandomResizedCrop takes: ten tries at a random area and ratio, then
// the largest centre of an allowed ratio.
Region random_region(Size image, const DrawRange& scale, const DrawRange& ratio,
                     random::CounterRandom& random);

Crop crop_of(const ImageTransformOptions& options, Size image, random::CounterRandom& random);

}  // namespace helip::image
