#include "image/decode/decode.h"

#include <algorithm>
#include <string>
#include <utility>

#include "helip/sample_error.h"
#include "image/decode/decode_jpeg.h"
#include "image/decode/decode_png.h"
#include "image/decode/decode_ppm.h"
#include "image/decode/decode_webp.h"
#include "image/decode/exif_orientation.h"

namespace helip::image {
namespace {

std::string grouped(int64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string quoted_start(std::span<const std::byte> encoded) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : encoded.first(std::min<std::size_t>(encoded.size(), 8))) {
    const auto value = std::to_integer<unsigned>(byte);
    text += kHex[value >> 4];
    text += kHex[value & 15];
    text += ' ';
  }
  if (!text.empty()) text.pop_back();
  return text;
}

}  // namespace

struct Decoder::Decoders {
  ImageFormat format = ImageFormat::unknown;
  Deadline deadline{0.0};
  JpegDecoder jpeg;
  PngDecoder png;
  WebpDecoder webp;
  PpmDecoder ppm;
};

Decoder::Decoder() : decoders_(std::make_unique<Decoders>()) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

ImageHeader Decoder::open(std::span<const std::byte> encoded, const DecodeLimits& limits) {
  const auto bytes = static_cast<int64_t>(encoded.size());
  if (bytes > limits.max_bytes) {
    throw SampleError("too_large", "the picture has " + grouped(bytes) + " bytes, more than " +
                                       grouped(limits.max_bytes) +
                                       "; raise max_bytes if it is genuine");
  }
  decoders_->deadline = Deadline(limits.max_seconds);
  ImageHeader header;
  header.format = format_of(encoded);
  decoders_->format = header.format;
  switch (header.format) {
    case ImageFormat::jpeg: header.stored = decoders_->jpeg.open(encoded, limits); break;
    case ImageFormat::png: header.stored = decoders_->png.open(encoded, limits); break;
    case ImageFormat::webp: header.stored = decoders_->webp.open(encoded, limits); break;
    case ImageFormat::ppm: header.stored = decoders_->ppm.open(encoded, limits); break;
    case ImageFormat::gif:
    case ImageFormat::bmp:
    case ImageFormat::tiff: unsupported(name_of(header.format));
    case ImageFormat::unknown:
      throw SampleError("unreadable_image",
                        encoded.empty()
                            ? "the picture is empty"
                            : "the picture starts with " + quoted_start(encoded) +
                                  ", which is none of JPEG, PNG, WebP, PPM, GIF, BMP, TIFF");
  }
  header.orientation = exif_orientation(encoded, header.format);
  return header;
}

Region Decoder::decode(const Region& region, int eighths, Image& out) {
  const Deadline& deadline = decoders_->deadline;
  const auto decoded = [&]() -> Region {
    switch (decoders_->format) {
      case ImageFormat::jpeg: return decoders_->jpeg.decode(region, eighths, deadline, out);
      case ImageFormat::png: return decoders_->png.decode(region, deadline, out);
      case ImageFormat::webp: return decoders_->webp.decode(region, deadline, out);
      case ImageFormat::ppm: return decoders_->ppm.decode(region, out);
      default: throw Error(ErrorCode::invalid_argument, "no picture is open; call open() first");
    }
  };
  const Region held = decoded();
  deadline.check();
  return held;
}

void Decoder::release_above(std::size_t bytes) noexcept { decoders_->png.release_above(bytes); }

Size scaled_size(Size stored, int eighths) noexcept {
  return {(stored.height * eighths + 7) / 8, (stored.width * eighths + 7) / 8};
}

void unreadable(const char* format, const char* why) {
  throw SampleError("unreadable_image",
                    std::string("the picture cannot be decoded: ") + format + ": " + why);
}

void unsupported(const char* what) {
  throw SampleError("unsupported_format",
                    std::string(what) + " is not decoded here; Pillow may read it");
}

void check_pixels(Size size, const DecodeLimits& limits) {
  if (size.height < 1 || size.width < 1) {
    throw SampleError("unreadable_image", "the picture has " + std::to_string(size.width) + " x " +
                                              std::to_string(size.height) + " pixels");
  }
  if (size.height > limits.max_pixels / size.width) {
    throw SampleError("too_large", "the picture has " + std::to_string(size.width) + " x " +
                                       std::to_string(size.height) + " pixels, more than " +
                                       grouped(limits.max_pixels) +
                                       "; raise max_pixels if it is genuine");
  }
}

void flatten_over_white(const uint8_t* rgba, int64_t pixels, uint8_t* out) noexcept {
  for (int64_t i = 0; i < pixels; ++i) {
    const unsigned alpha = rgba[4 * i + 3];
    for (int c = 0; c < 3; ++c) {
      // a / 255 to the nearest, for a <= 255 * 255.
      const unsigned sum = 255U * (255U - alpha) + rgba[4 * i + c] * alpha + 128U;
      out[3 * i + c] = static_cast<uint8_t>((sum + (sum >> 8)) >> 8);
    }
  }
}

}  // namespace helip::image
