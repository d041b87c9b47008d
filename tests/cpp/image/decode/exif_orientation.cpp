#include "image/decode/exif_orientation.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

namespace {

using namespace helip::image;
using namespace std::string_literals;

int orientation_of(const std::string& text, ImageFormat format) {
  return exif_orientation(std::as_bytes(std::span(text)), format);
}

// A TIFF header and a directory of one entry.
std::string tiff(int value, bool big_endian) {
  if (big_endian) {
    return "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"s + static_cast<char>(value) + "\0\0"s;
  }
  return "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"s + static_cast<char>(value) + "\0\0\0"s;
}

std::string segment(const std::string& content) {
  const std::size_t length = content.size() + 2;
  return "\xff\xe1"s + static_cast<char>(length >> 8) + static_cast<char>(length & 255) + content;
}

}  // namespace

TEST_CASE("orientation is read in either byte order, and anything else is upright") {
  for (const bool big_endian : {false, true}) {
    for (int value = 0; value < 12; ++value) {
      const std::string jpeg = "\xff\xd8"s + segment("Exif\0\0"s + tiff(value, big_endian));
      CHECK(orientation_of(jpeg, ImageFormat::jpeg) == (value >= 1 && value <= 8 ? value : 1));
    }
  }
}

TEST_CASE("metadata cut anywhere are read without a fault") {
  const std::string jpeg =
      "\xff\xd8"s + segment("other"s) + segment("Exif\0\0"s + tiff(6, true)) + "\xff\xda\0\x02"s;
  CHECK(orientation_of(jpeg, ImageFormat::jpeg) == 6);
  for (std::size_t length = 0; length < jpeg.size(); ++length) {
    const int found = orientation_of(jpeg.substr(0, length), ImageFormat::jpeg);
    CHECK((found == 1 || found == 6));
  }
}

TEST_CASE("a directory that claims more entries than there are bytes ends") {
  std::string block = tiff(6, false);
  block[8] = block[9] = '\xff';
  block[10] = 0;
  CHECK(orientation_of("\xff\xd8"s + segment("Exif\0\0"s + block), ImageFormat::jpeg) == 1);
}

TEST_CASE("XMP is read where EXIF says nothing") {
  const std::string xmp = "http://ns.adobe.com/xap/1.0/\0<a tiff:Orientation=\"8\"/>"s;
  CHECK(orientation_of("\xff\xd8"s + segment(xmp), ImageFormat::jpeg) == 8);
  CHECK(orientation_of("\xff\xd8"s + segment(xmp) + segment("Exif\0\0"s + tiff(3, true)),
                       ImageFormat::jpeg) == 3);
}
