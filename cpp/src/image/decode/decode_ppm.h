// PPM: pixels as they are, of pictures that were decoded beforehand (helip pack).
#pragma once

#include <cstddef>
#include <span>

#include "image/decode/decode.h"
#include "image/decode/image.h"

namespace helip::image {

// Binary PPM ("P6") of 8 bits a value. More are "unsupported_format".
class PpmDecoder {
 public:
  Size open(std::span<const std::byte> encoded, const DecodeLimits& limits);
  Region decode(const Region& region, Image& out) const;

 private:
  std::span<const std::byte> pixels_;  // height x width x 3, without gaps
  Size size_;
};

}  // namespace helip::image
