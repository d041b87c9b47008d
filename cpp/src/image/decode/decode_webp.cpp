#include "image/decode/decode_webp.h"

#include "image/decode/byte_reader.h"

#if defined(HELIP_HAS_WEBP)

#include <webp/decode.h>

#include <algorithm>
#include <memory>

namespace helip::image {
namespace {

// Fancy upsampling and the loop filter look beyond a border that is cut.
constexpr int64_t kEdge = 2;

// libwebp decodes some 20 million pixels a second or more: smaller pictures take no seconds.
constexpr int64_t kPixelsInParts = int64_t{4} << 20;
constexpr std::size_t kParts = 16;

const uint8_t* bytes_of(std::span<const std::byte> encoded) noexcept {
  return reinterpret_cast<const uint8_t*>(encoded.data());
}

// Looks at the clock after each of 16 parts of the bytes. Throws SampleError "too_slow".
VP8StatusCode decode_in_parts(std::span<const std::byte> encoded, WebPDecoderConfig& config,
                              const Deadline& deadline) {
  const std::unique_ptr<WebPIDecoder, decltype(&WebPIDelete)> decoder(
      WebPIDecode(nullptr, 0, &config), &WebPIDelete);
  if (!decoder) return VP8_STATUS_OUT_OF_MEMORY;
  VP8StatusCode status = VP8_STATUS_SUSPENDED;
  for (std::size_t part = 1; part <= kParts && status == VP8_STATUS_SUSPENDED; ++part) {
    deadline.check();
    status = WebPIUpdate(decoder.get(), bytes_of(encoded), encoded.size() * part / kParts);
  }
  return status;
}

const char* text_of(VP8StatusCode status) noexcept {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY: return "no memory";
    case VP8_STATUS_BITSTREAM_ERROR: return "its data are damaged";
    case VP8_STATUS_UNSUPPORTED_FEATURE: return "it uses an unknown feature";
    case VP8_STATUS_SUSPENDED:
    case VP8_STATUS_NOT_ENOUGH_DATA: return "the file is truncated";
    default: return "libwebp refused it";
  }
}

}  // namespace

bool WebpDecoder::built() noexcept { return true; }

Size WebpDecoder::open(std::span<const std::byte> encoded, const DecodeLimits& limits) {
  // The RIFF header names the size of everything that follows its first eight bytes.
  if (encoded.size() - 8 < ByteReader(encoded, false).u32(4)) {
    unreadable("WebP", "the file is truncated");
  }
  WebPBitstreamFeatures features;
  const VP8StatusCode status =
      WebPGetFeatures(reinterpret_cast<const uint8_t*>(encoded.data()), encoded.size(), &features);
  if (status != VP8_STATUS_OK) unreadable("WebP", text_of(status));
  if (features.has_animation != 0) unsupported("animated WebP");
  size_ = {features.height, features.width};
  check_pixels(size_, limits);
  encoded_ = encoded;
  transparent_ = features.has_alpha != 0;
  return size_;
}

Region WebpDecoder::decode(const Region& region, const Deadline& deadline, Image& out) {
  // libwebp cuts at even pixels.
  const int64_t top = std::max<int64_t>(region.top - kEdge, 0) & ~int64_t{1};
  const int64_t left = std::max<int64_t>(region.left - kEdge, 0) & ~int64_t{1};
  const Region held{top, left, std::min(region.top + region.height + kEdge, size_.height) - top,
                    std::min(region.left + region.width + kEdge, size_.width) - left};
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) unreadable("WebP", "libwebp is of another version");
  config.options.use_cropping = 1;
  config.options.crop_top = static_cast<int>(held.top);
  config.options.crop_left = static_cast<int>(held.left);
  config.options.crop_height = static_cast<int>(held.height);
  config.options.crop_width = static_cast<int>(held.width);
  out.resize({held.height, held.width});
  Bytes layer;
  const int64_t channels = transparent_ ? 4 : 3;
  const auto size = static_cast<std::size_t>(held.height * held.width * channels);
  config.output.colorspace = transparent_ ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = transparent_ ? layer.reserve(size) : out.data();
  config.output.u.RGBA.stride = static_cast<int>(held.width * channels);
  config.output.u.RGBA.size = size;
  const VP8StatusCode status = size_.height * size_.width < kPixelsInParts
                                   ? WebPDecode(bytes_of(encoded_), encoded_.size(), &config)
                                   : decode_in_parts(encoded_, config, deadline);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) unreadable("WebP", text_of(status));
  if (transparent_) flatten_over_white(layer.data(), held.height * held.width, out.data());
  return held;
}

}  // namespace helip::image

#else

namespace helip::image {

bool WebpDecoder::built() noexcept { return false; }

Size WebpDecoder::open(std::span<const std::byte>, const DecodeLimits&) {
  unsupported("WebP (this build has no libwebp)");
}

Region WebpDecoder::decode(const Region&, const Deadline&, Image&) {
  unsupported("WebP (this build has no libwebp)");
}

}  // namespace helip::image

#endif
