// WebP, lossy and lossless.
#include <webp/encode.h>

#include "fuzz.h"
#include "picture.h"
#include "support/image_samples.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  const auto image = sample_image({20, 12});
  const auto width = static_cast<int>(image.width()), height = static_cast<int>(image.height());
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < height; ++y)
    pixels.insert(pixels.end(), image.row(y), image.row(y) + 3 * width);
  std::vector<std::string> all;
  for (const bool lossless : {false, true}) {
    std::uint8_t* encoded = nullptr;
    const std::size_t size =
        lossless ? WebPEncodeLosslessRGB(pixels.data(), width, height, 3 * width, &encoded)
                 : WebPEncodeRGB(pixels.data(), width, height, 3 * width, 80, &encoded);
    for (std::string& seed : ways_of({reinterpret_cast<const char*>(encoded), size})) {
      all.push_back(std::move(seed));
    }
    WebPFree(encoded);
  }
  return all;
}

void take(std::string_view input) { transform(input); }

}  // namespace helip::fuzz
