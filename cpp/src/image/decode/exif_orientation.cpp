#include "image/decode/exif_orientation.h"

#include <array>
#include <string_view>

#include "image/decode/byte_reader.h"

namespace helip::image {
namespace {

using namespace std::string_view_literals;
using Span = std::span<const std::byte>;

constexpr std::uint32_t kOrientationTag = 0x0112;

// 1 .. 8, or 0 where a TIFF header with its first directory names none.
int orientation_of_tiff(Span tiff) noexcept {
  const std::string_view order = ByteReader(tiff, true).text(0, 4);
  const bool big_endian = order == "MM\0*"sv;
  if (!big_endian && order != "II*\0"sv) return 0;
  const ByteReader reader(tiff, big_endian);
  const std::size_t directory = reader.u32(4);
  const std::uint32_t entries = reader.u16(directory);
  for (std::uint32_t entry = 0; entry < entries; ++entry) {
    const std::size_t at = directory + 2 + 12 * static_cast<std::size_t>(entry);
    if (at + 12 > reader.size()) return 0;
    if (reader.u16(at) != kOrientationTag) continue;
    const std::uint32_t type = reader.u16(at + 2);
    const std::uint32_t value = type == 3 ? reader.u16(at + 8) : type == 4 ? reader.u32(at + 8) : 0;
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 0;
  }
  return 0;
}

int orientation_of_exif(Span exif) noexcept {
  constexpr auto kHeader = "Exif\0\0"sv;
  if (ByteReader(exif, true).text(0, kHeader.size()) == kHeader) {
    exif = exif.subspan(kHeader.size());
  }
  return orientation_of_tiff(exif);
}

// tiff:Orientation="6" or <tiff:Orientation>6
int orientation_of_xmp(std::string_view xmp) noexcept {
  constexpr auto kName = "tiff:Orientation"sv;
  for (std::size_t at = xmp.find(kName); at != xmp.npos; at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    if (rest.starts_with("=\""sv)) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">"sv)) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest.front() >= '1' && rest.front() <= '8') return rest.front() - '0';
    return 0;
  }
  return 0;
}

struct Found {
  int exif = 0;
  int xmp = 0;

  void take_exif(Span bytes) noexcept {
    if (exif == 0) exif = orientation_of_exif(bytes);
  }
  void take_xmp(std::string_view text) noexcept {
    if (xmp == 0) xmp = orientation_of_xmp(text);
  }
  int result() const noexcept { return exif != 0 ? exif : xmp != 0 ? xmp : 1; }
};

Found look_in_jpeg(const ByteReader& reader) noexcept {
  Found found;
  std::size_t at = 2;
  // Segments up to the first scan: FF, marker, length of what follows the marker.
  while (at + 4 <= reader.size() && reader.u8(at) == 0xff) {
    const std::uint32_t marker = reader.u8(at + 1);
    if (marker == 0xff) {  // a fill byte
      ++at;
      continue;
    }
    if (marker == 0xda || marker == 0xd9) break;
    if (marker == 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {  // markers without a segment
      at += 2;
      continue;
    }
    const std::size_t length = reader.u16(at + 2);
    if (length < 2) break;
    if (marker == 0xe1) {
      const Span segment = reader.part(at + 4, length - 2);
      const std::string_view text = reader.text(at + 4, length - 2);
      constexpr auto kXmp = "http://ns.adobe.com/xap/1.0/\0"sv;
      if (text.starts_with("Exif\0\0"sv)) {
        found.take_exif(segment);
      } else if (text.starts_with(kXmp)) {
        found.take_xmp(text.substr(kXmp.size()));
      }
    }
    at += 2 + length;
  }
  return found;
}

Found look_in_png(const ByteReader& reader) noexcept {
  Found found;
  std::size_t at = 8;
  while (at + 12 <= reader.size()) {
    const std::size_t length = reader.u32(at);
    const std::string_view type = reader.text(at + 4, 4);
    if (length > reader.size() - at - 12 || type == "IEND"sv) break;
    if (type == "eXIf"sv) {
      found.take_exif(reader.part(at + 8, length));
    } else if (type == "iTXt"sv) {
      // Keyword, two zero bytes (not compressed), language, translated keyword, text.
      constexpr auto kKeyword = "XML:com.adobe.xmp\0\0\0"sv;
      const std::string_view text = reader.text(at + 8, length);
      if (text.starts_with(kKeyword)) found.take_xmp(text.substr(kKeyword.size()));
    }
    at += 12 + length;
  }
  return found;
}

Found look_in_webp(const ByteReader& reader) noexcept {
  Found found;
  std::size_t at = 12;
  while (at + 8 <= reader.size()) {
    const std::string_view type = reader.text(at, 4);
    const std::size_t length = reader.u32(at + 4);
    if (type == "EXIF"sv) found.take_exif(reader.part(at + 8, length));
    if (type == "XMP "sv) found.take_xmp(reader.text(at + 8, length));
    at += 8 + length + (length & 1);
  }
  return found;
}

}  // namespace

int exif_orientation(Span encoded, ImageFormat format) noexcept {
  switch (format) {
    case ImageFormat::jpeg: return look_in_jpeg({encoded, true}).result();
    case ImageFormat::png: return look_in_png({encoded, true}).result();
    case ImageFormat::webp: return look_in_webp({encoded, false}).result();
    default: return 1;
  }
}

Turn turn_of(int orientation) noexcept {
  constexpr std::array<Turn, 9> kTurns{{{false, false, false},
                                        {false, false, false},
                                        {false, true, false},
                                        {true, true, false},
                                        {true, false, false},
                                        {false, false, true},
                                        {true, false, true},
                                        {true, true, true},
                                        {false, true, true}}};
  return kTurns[static_cast<std::size_t>(orientation)];
}

}  // namespace helip::image
