// Encoded bytes to the pixels of a region, within bounds of memory and time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "image/decode/deadline.h"
#include "image/decode/image.h"
#include "image/decode/image_format.h"

namespace helip::image {

struct DecodeLimits {
  int64_t max_bytes = int64_t{1} << 30;
  int64_t max_pixels = 178'956'970;
  double max_seconds = 10.0;  // from open() on; infinity: any
  int max_scans = 100;        // of a JPEG; a progressive one has about ten, and each costs a pass
};

// What an image says of itself before it is decoded.
struct ImageHeader {
  ImageFormat format = ImageFormat::unknown;
  Size stored;          // as stored, not yet turned
  int orientation = 1;  // 1 .. 8
};

// One thread's decoders, kept from image to image.
class Decoder {
 public:
  Decoder();
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  // Checks the limits before any pixel has memory. `encoded` must stay until decode() has returned.
  // Throws SampleError "unreadable_image", "too_large", "too_slow" or "unsupported_format".
  ImageHeader open(std::span<const std::byte> encoded, const DecodeLimits& limits);

  // Decodes at least `region` of the stored image, in pixels of the image at eighths / 8 of its
  // size (1, 2, 4 or 8; only JPEG takes less than 8), transparency over white. Returns what `out`
  // holds. What lies outside is read only where the bytes do not end as the format ends: then
  // everything is, so that truncation is found. Throws SampleError.
  Region decode(const Region& region, int eighths, Image& out);

  // Frees what a huge image left behind.
  void release_above(std::size_t bytes) noexcept;

 private:
  struct Decoders;
  std::unique_ptr<Decoders> decoders_;
};

// Sizes of an image at eighths / 8: rounded up, as libjpeg does.
Size scaled_size(Size stored, int eighths) noexcept;

// Shared by the decoders of each format.
[[noreturn]] void unreadable(const char* format, const char* why);
[[noreturn]] void unsupported(const char* what);
void check_pixels(Size size, const DecodeLimits& limits);

// Over white, as Pillow pastes with a mask: value [n x 4] RGBA to out [n x 3].
void flatten_over_white(const uint8_t* rgba, int64_t pixels, uint8_t* out) noexcept;

}  // namespace helip::image
