#include "image/pixel_kernel.h"

namespace helip::image {

std::vector<const PixelKernel*> available_pixel_kernels() {
  std::vector<const PixelKernel*> kernels;
  if (pixel_kernel_avx2() != nullptr) kernels.push_back(pixel_kernel_avx2());
  kernels.push_back(pixel_kernel_portable());
  return kernels;
}

const PixelKernel& fastest_pixel_kernel() noexcept {
  static const PixelKernel* const kernel =
      pixel_kernel_avx2() != nullptr ? pixel_kernel_avx2() : pixel_kernel_portable();
  return *kernel;
}

}  // namespace helip::image
