// PNG by libpng.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "image/decode/decode.h"
#include "image/decode/image.h"

namespace helip::image {

// Grey, palettes and transparency become RGB over white; colour profiles and text are passed over
// unread. 16 bits are "unsupported_format".
class PngDecoder {
 public:
  static bool built() noexcept;  // whether libpng was there

  Size open(std::span<const std::byte> encoded, const DecodeLimits& limits);
  Region decode(const Region& region, const Deadline& deadline, Image& out);
  void release_above(std::size_t bytes) noexcept { rows_.release_above(bytes); }

 private:
  std::span<const std::byte> encoded_;
  Size size_;
  Bytes rows_;  // one row, or all of an interlaced image
};

}  // namespace helip::image
