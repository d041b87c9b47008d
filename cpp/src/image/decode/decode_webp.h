// WebP by libwebp.
#pragma once

#include <cstddef>
#include <span>

#include "image/decode/decode.h"
#include "image/decode/image.h"

namespace helip::image {

// Transparency lies over white. Animations are "unsupported_format".
class WebpDecoder {
 public:
  static bool built() noexcept;  // whether libwebp was there

  Size open(std::span<const std::byte> encoded, const DecodeLimits& limits);
  Region decode(const Region& region, const Deadline& deadline, Image& out);

 private:
  std::span<const std::byte> encoded_;
  Size size_;
  bool transparent_ = false;
};

}  // namespace helip::image
