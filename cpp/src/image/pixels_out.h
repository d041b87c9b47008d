// Pixels to the numbers that a model takes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "helip/image_transform.h"
#include "helip/matrix.h"
#include "image/decode/image.h"

namespace helip::image {

// Eight bits have 256 values, so each channel is a table: its entries are what torchvision's
// ToTensor and Normalize give, in float32, then rounded to the dtype.
class PixelsOut {
 public:
  explicit PixelsOut(const ImageTransformOptions& options);

  std::size_t bytes() const noexcept { return bytes_; }
  // image [height, width] of the options.
  void write(const Image& image, void* out) const noexcept;

 private:
  template <typename Value>
  void write_as(const std::vector<Value>& table, const Image& image, Value* out) const noexcept;

  DType dtype_;
  PixelLayout layout_;
  std::size_t bytes_;
  std::vector<float> wide_;            // [3, 256] float32
  std::vector<std::uint16_t> narrow_;  // [3, 256] bits of float16 or bfloat16
};

}  // namespace helip::image
