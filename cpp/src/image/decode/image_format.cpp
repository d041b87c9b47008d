#include "image/decode/image_format.h"

#include <cstring>
#include <string_view>

namespace helip::image {

ImageFormat format_of(std::span<const std::byte> encoded) noexcept {
  using namespace std::string_view_literals;
  const std::string_view text(reinterpret_cast<const char*>(encoded.data()), encoded.size());
  if (text.starts_with("\xff\xd8\xff"sv)) return ImageFormat::jpeg;
  if (text.starts_with("\x89PNG\r\n\x1a\n"sv)) return ImageFormat::png;
  if (text.starts_with("RIFF"sv) && text.size() >= 12 && text.substr(8, 4) == "WEBP"sv) {
    return ImageFormat::webp;
  }
  if (text.starts_with("P6"sv)) return ImageFormat::ppm;
  if (text.starts_with("GIF87a"sv) || text.starts_with("GIF89a"sv)) return ImageFormat::gif;
  if (text.starts_with("BM"sv)) return ImageFormat::bmp;
  if (text.starts_with("II*\0"sv) || text.starts_with("MM\0*"sv)) return ImageFormat::tiff;
  return ImageFormat::unknown;
}

const char* name_of(ImageFormat format) noexcept {
  constexpr const char* kNames[] = {"unknown", "JPEG", "PNG", "WEBP", "PPM", "GIF", "BMP", "TIFF"};
  return kNames[static_cast<std::size_t>(format)];
}

}  // namespace helip::image
