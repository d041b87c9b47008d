// Images made in the test, and the same encoded as JPEG.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

// After <cstdio>, whose FILE it names.
#include <jpeglib.h>

#include "base/counter_random.h"
#include "image/decode/image.h"

// Smooth colours with some noise: what a JPEG keeps, and what it does not.
inline helip::image::Image sample_image(helip::image::Size size, std::uint64_t seed = 0) {
  helip::random::CounterRandom random{seed, 99};
  helip::image::Image image;
  image.resize(size);
  for (std::int64_t y = 0; y < size.height; ++y) {
    for (std::int64_t x = 0; x < size.width; ++x) {
      for (std::int64_t c = 0; c < 3; ++c) {
        const std::int64_t wave = (x * (3 + c) + y * (5 - c) + 40 * c) % 400;
        const std::int64_t level = (wave < 200 ? wave : 400 - wave) + random.below(40);
        image.row(y)[3 * x + c] = static_cast<std::uint8_t>(level);
      }
    }
  }
  return image;
}

struct JpegStyle {
  int across = 2;  // chroma samples: one for so many pixels
  int down = 2;
  bool progressive = false;
  bool grey = false;
  int quality = 90;
};

inline std::vector<std::byte> jpeg_of(const helip::image::Image& image, JpegStyle style = {}) {
  jpeg_compress_struct jpeg;
  jpeg_error_mgr errors;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &memory, &size);
  jpeg.image_width = static_cast<JDIMENSION>(image.width());
  jpeg.image_height = static_cast<JDIMENSION>(image.height());
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  if (style.grey) jpeg_set_colorspace(&jpeg, JCS_GRAYSCALE);
  jpeg_set_quality(&jpeg, style.quality, TRUE);
  if (!style.grey) {
    jpeg.comp_info[0].h_samp_factor = style.across;
    jpeg.comp_info[0].v_samp_factor = style.down;
  }
  if (style.progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<JSAMPROW>(image.row(static_cast<std::int64_t>(jpeg.next_scanline)));
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  const auto* bytes = reinterpret_cast<const std::byte*>(memory);
  std::vector<std::byte> result(bytes, bytes + size);
  std::free(memory);
  return result;
}
