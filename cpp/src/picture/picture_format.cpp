#include "picture/picture_format.h"

#include <cstring>
#include <string_view>

namespace helip::picture {

PictureFormat format_of(std::span<const std::byte> encoded) noexcept {
  using namespace std::string_view_literals;
  const std::string_view text(reinterpret_cast<const char*>(encoded.data()), encoded.size());
  if (text.starts_with("\xff\xd8\xff"sv)) return PictureFormat::jpeg;
  if (text.starts_with("\x89PNG\r\n\x1a\n"sv)) return PictureFormat::png;
  if (text.starts_with("RIFF"sv) && text.size() >= 12 && text.substr(8, 4) == "WEBP"sv) {
    return PictureFormat::webp;
  }
  if (text.starts_with("GIF87a"sv) || text.starts_with("GIF89a"sv)) return PictureFormat::gif;
  if (text.starts_with("BM"sv)) return PictureFormat::bmp;
  if (text.starts_with("II*\0"sv) || text.starts_with("MM\0*"sv)) return PictureFormat::tiff;
  return PictureFormat::unknown;
}

const char* name_of(PictureFormat format) noexcept {
  switch (format) {
    case PictureFormat::jpeg: return "JPEG";
    case PictureFormat::png: return "PNG";
    case PictureFormat::webp: return "WEBP";
    case PictureFormat::gif: return "GIF";
    case PictureFormat::bmp: return "BMP";
    case PictureFormat::tiff: return "TIFF";
    case PictureFormat::unknown: break;
  }
  return "unknown";
}

}  // namespace helip::picture
