#include "picture.h"

#include <span>
#include <vector>

#include "fuzz.h"
#include "helip/image_transform.h"

namespace helip::fuzz {
namespace {

constexpr std::uint8_t kExact = 1;
constexpr std::uint8_t kWhole = 2;
constexpr std::uint8_t kFloats = 4;

ImageTransformOptions options_of(std::uint8_t way) {
  ImageTransformOptions chosen;
  chosen.height = chosen.width = 16;
  chosen.exact_decode = way & kExact;
  chosen.crop = way & kWhole ? CropKind::squash : CropKind::random;
  chosen.dtype = way & kFloats ? DType::float32 : DType::uint8;
  // What is larger takes long, and finds no more.
  chosen.max_pixels = 1 << 18;
  return chosen;
}

}  // namespace

void transform(std::string_view input) {
  static std::vector<ImageTransform> transforms = [] {
    std::vector<ImageTransform> all;
    for (std::uint8_t way = 0; way < 8; ++way) all.emplace_back(options_of(way));
    return all;
  }();
  static ImageTransform::Scratch scratch;
  const ImageTransform& chosen = transforms[take_byte(input) & 7];
  std::vector<std::byte> out(chosen.bytes());
  chosen.apply(std::as_bytes(std::span(input.data(), input.size())), {1, 2, 3, 0}, out.data(),
               scratch);
}

std::vector<std::string> ways_of(const std::string& encoded) {
  return {std::string(1, '\0') + encoded, std::string(1, '\3') + encoded,
          std::string(1, '\6') + encoded};
}

}  // namespace helip::fuzz
