#include "image/pixels_out.h"

#include <cstring>

#include "base/half.h"

namespace helip::image {

PixelsOut::PixelsOut(const ImageTransformOptions& options)
    : dtype_(options.dtype),
      layout_(options.layout),
      bytes_(static_cast<std::size_t>(options.height * options.width * kChannels *
                                      size_of(options.dtype))) {
  if (dtype_ == DType::uint8) return;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const auto mean = static_cast<float>(options.mean[channel]);
    const auto deviation = static_cast<float>(options.stddev[channel]);
    for (int value = 0; value < 256; ++value) {
      const float number = (static_cast<float>(value) / 255.0F - mean) / deviation;
      wide_.push_back(number);
      narrow_.push_back(dtype_ == DType::float16 ? float16_from_float(number)
                                                 : bfloat16_from_float(number));
    }
  }
}

template <typename Value>
void PixelsOut::write_as(const std::vector<Value>& table, const Image& image,
                         Value* out) const noexcept {
  const uint8_t* pixel = image.data();
  const int64_t pixels = image.pixels();
  const Value* red = table.data();
  const Value* green = red + 256;
  const Value* blue = green + 256;
  if (layout_ == PixelLayout::nhwc) {
    for (int64_t i = 0; i < pixels; ++i) {
      out[3 * i] = red[pixel[3 * i]];
      out[3 * i + 1] = green[pixel[3 * i + 1]];
      out[3 * i + 2] = blue[pixel[3 * i + 2]];
    }
    return;
  }
  for (int64_t i = 0; i < pixels; ++i) {
    out[i] = red[pixel[3 * i]];
    out[pixels + i] = green[pixel[3 * i + 1]];
    out[2 * pixels + i] = blue[pixel[3 * i + 2]];
  }
}

void PixelsOut::write(const Image& image, void* out) const noexcept {
  if (dtype_ == DType::float32) {
    write_as(wide_, image, static_cast<float*>(out));
  } else if (dtype_ != DType::uint8) {
    write_as(narrow_, image, static_cast<std::uint16_t*>(out));
  } else if (layout_ == PixelLayout::nhwc) {
    std::memcpy(out, image.data(), bytes_);
  } else {
    auto* planes = static_cast<uint8_t*>(out);
    const uint8_t* pixel = image.data();
    const int64_t pixels = image.pixels();
    for (int64_t i = 0; i < pixels; ++i) {
      planes[i] = pixel[3 * i];
      planes[pixels + i] = pixel[3 * i + 1];
      planes[2 * pixels + i] = pixel[3 * i + 2];
    }
  }
}

}  // namespace helip::image
