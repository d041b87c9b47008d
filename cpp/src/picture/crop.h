// Which part of an upright picture becomes the result, and where it lies in it.
#pragma once

#include "helip/image_transform.h"
#include "picture/axis.h"
#include "picture/picture.h"
#include "random/counter_random.h"

namespace helip::picture {

// rows.count x columns.count pixels of the result from (top, left) on; the rest is filled.
struct Crop {
  Axis rows;
  Axis columns;
  int64_t top = 0;
  int64_t left = 0;
};

// The part that torchvision's RandomResizedCrop takes: ten tries at a random area and ratio, then
// the largest centre of an allowed ratio.
Region random_region(Size picture, const Range& scale, const Range& ratio,
                     random::CounterRandom& random);

Crop crop_of(const ImageTransformOptions& options, Size picture, random::CounterRandom& random);

}  // namespace helip::picture
