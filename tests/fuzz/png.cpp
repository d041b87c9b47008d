// PNG, with the checksums of its chunks mended, so that damage goes on to what reads them.
#include <png.h>
#include <zlib.h>

#include <array>

#include "fuzz.h"
#include "picture.h"
#include "support/image_samples.h"

namespace helip::fuzz {
namespace {

constexpr std::size_t kSignature = 8;

std::uint32_t number_at(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i)
    value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

// With the checksum of each chunk that lies within the bytes.
std::string mended(std::string bytes) {
  std::size_t at = kSignature;
  while (at + 12 <= bytes.size()) {
    const std::size_t length = number_at(bytes, at);
    if (length > bytes.size() - at - 12) break;
    const auto* chunk = reinterpret_cast<const Bytef*>(bytes.data() + at + 4);
    const auto sum = static_cast<std::uint32_t>(crc32(0, chunk, static_cast<uInt>(length + 4)));
    for (std::size_t i = 0; i < 4; ++i) {
      bytes[at + 8 + length + i] = static_cast<char>(sum >> (24 - 8 * i) & 255);
    }
    at += 12 + length;
  }
  return bytes;
}

std::string png_of(png_uint_32 format, int channels) {
  std::string pixels;
  for (int i = 0; i < 20 * 12 * channels; ++i) pixels.push_back(static_cast<char>(i * 7));
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = 20;
  image.height = 12;
  image.format = format;
  png_alloc_size_t size = 1 << 16;
  std::string encoded(size, '\0');
  promise(png_image_write_to_memory(&image, encoded.data(), &size, 0, pixels.data(), 0, nullptr),
          "a picture is written");
  encoded.resize(size);
  return encoded;
}

}  // namespace

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const auto& [format, channels] : {std::pair<png_uint_32, int>{PNG_FORMAT_RGB, 3},
                                         {PNG_FORMAT_RGBA, 4},
                                         {PNG_FORMAT_GRAY, 1}}) {
    for (std::string& seed : ways_of(png_of(format, channels))) all.push_back(std::move(seed));
  }
  return all;
}

void take(std::string_view input) {
  if (input.empty()) return;
  transform(std::string(1, input.front()) + mended(std::string(input.substr(1))));
}

}  // namespace helip::fuzz
