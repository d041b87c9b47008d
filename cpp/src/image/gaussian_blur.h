// Pillow's GaussianBlur: three extended box blurs along each side (Gwosdek et al., "Theoretical
// foundations of Gaussian convolution by extended box filtering", SSVM 2011).
#pragma once

#include <vector>

#include "image/decode/image.h"
#include "image/pixel_kernel.h"

namespace helip::image {

class GaussianBlur {
 public:
  explicit GaussianBlur(const PixelKernel& kernel = fastest_pixel_kernel()) noexcept
      : kernel_(&kernel) {}

  // In place; sigma in pixels, 0 or more. The edge goes on outside.
  void apply(Image& image, double sigma);

 private:
  void along_rows(Image& image);
  void across_rows(Image& image);

  const PixelKernel* kernel_;
  int64_t radius_ = 0;      // whole pixels to either side that weigh near_; the next weighs far_
  std::uint32_t near_ = 0;  // in 2^-24
  std::uint32_t far_ = 0;
  Bytes line_;  // a row with its edges drawn out, or rows that are overwritten
  std::vector<const uint8_t*> taps_;
};

}  // namespace helip::image
