// WebP by libwebp.
#pragma once

#include <cstddef>
#include <span>

#include "picture/decode.h"
#include "picture/picture.h"

namespace helip::picture {

// Transparency lies over white. Animations are "unsupported_format".
class WebpDecoder {
 public:
  static bool built() noexcept;  // whether libwebp was there

  Size open(std::span<const std::byte> encoded, const DecodeLimits& limits);
  Region decode(const Region& region, Picture& out);

 private:
  std::span<const std::byte> encoded_;
  Size size_;
  bool transparent_ = false;
};

}  // namespace helip::picture
