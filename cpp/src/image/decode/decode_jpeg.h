// JPEG by libjpeg-turbo: only the blocks of a region are transformed, and only as large as needed.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "image/decode/decode.h"
#include "image/decode/image.h"

namespace helip::image {

// The pixels are those of Pillow (accurate integer DCT, fancy upsampling). Warnings that leave
// pixels undefined are errors. CMYK is "unsupported_format".
class JpegDecoder {
 public:
  JpegDecoder();
  ~JpegDecoder();
  JpegDecoder(JpegDecoder&&) noexcept;
  JpegDecoder& operator=(JpegDecoder&&) noexcept;

  Size open(std::span<const std::byte> encoded, const DecodeLimits& limits);
  Region decode(const Region& region, int eighths, const Deadline& deadline, Image& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
  Bytes spare_row_;
};

}  // namespace helip::image
