// JPEG, baseline and progressive.
#include "fuzz.h"
#include "picture.h"
#include "support/image_samples.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const JpegStyle& style :
       {JpegStyle{}, JpegStyle{1, 1, true}, JpegStyle{1, 1, false, true}}) {
    const auto bytes = jpeg_of(sample_image({40, 24}), style);
    for (std::string& seed : ways_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()})) {
      all.push_back(std::move(seed));
    }
  }
  return all;
}

void take(std::string_view input) { transform(input); }

}  // namespace helip::fuzz
