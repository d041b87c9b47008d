// The orientation of a picture, by the format that the first byte chooses.
#include <array>
#include <span>

#include "fuzz.h"
#include "image/decode/exif_orientation.h"

namespace helip::fuzz {
namespace {

constexpr std::array kFormats{image::ImageFormat::jpeg, image::ImageFormat::png,
                              image::ImageFormat::webp, image::ImageFormat::unknown};

// One directory with an orientation of 6.
std::string tiff() {
  using namespace std::string_literals;
  return "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"s;
}

std::string big_endian(std::size_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

std::string jpeg_with(const std::string& payload) {
  using namespace std::string_literals;
  return "\xff\xd8\xff\xe1"s + big_endian(payload.size() + 2).substr(2) + payload + "\xff\xd9"s;
}

}  // namespace

std::vector<std::string> seeds() {
  using namespace std::string_literals;
  const std::string xmp =
      "<x:xmpmeta><rdf:RDF><rdf:Description tiff:Orientation=\"6\"/></rdf:RDF></x:xmpmeta>";
  const std::string png = "\x89PNG\r\n\x1a\n"s + big_endian(13) + "IHDR"s + std::string(17, '\1') +
                          big_endian(tiff().size()) + "eXIf"s + tiff() + "abcd"s + big_endian(0) +
                          "IEND"s + "abcd"s;
  const std::string webp = "RIFF\x40\0\0\0WEBPEXIF\x1a\0\0\0"s + tiff();
  return {"\0"s + jpeg_with("Exif\0\0"s + tiff()),
          "\0"s + jpeg_with("http://ns.adobe.com/xap/1.0/\0"s + xmp), "\1"s + png, "\2"s + webp};
}

void take(std::string_view input) {
  const image::ImageFormat format = kFormats[take_byte(input) & 3];
  const int found =
      image::exif_orientation(std::as_bytes(std::span(input.data(), input.size())), format);
  promise(found >= 1 && found <= 8, "an orientation is one of eight");
}

}  // namespace helip::fuzz
