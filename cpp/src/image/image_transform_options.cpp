#include "image/image_transform_options.h"

#include <cmath>
#include <sstream>
#include <string>

#include "base/refuse.h"
#include "base/text.h"

namespace helip {
namespace {

std::string text_of(const DrawRange& range) {
  std::ostringstream text;
  text << '(' << range[0] << ", " << range[1] << ')';
  return text.str();
}

template <typename Value>
void check_between(const char* name, Value value, Value low, Value high, const char* remedy) {
  if (value >= low && value <= high) return;  // a NaN is not
  refuse(name, " is ", value, ", but must be ", low, " .. ", high, "; ", remedy);
}

void check_range(const char* name, const DrawRange& range, double low, double high,
                 const char* remedy) {
  if (range[0] >= low && range[0] <= range[1] && range[1] <= high) return;
  refuse(name, " is ", text_of(range), ", but must be (low, high) with ", low,
         " <= low <= high <= ", high, "; ", remedy);
}

constexpr const char* kCrops[] = {"random", "shortest", "longest", "squash"};
constexpr const char* kInterpolations[] = {"bilinear", "bicubic"};
constexpr const char* kLayouts[] = {"nhwc", "nchw"};

}  // namespace

const char* name_of(CropKind kind) noexcept { return kCrops[static_cast<std::size_t>(kind)]; }
const char* name_of(Interpolation interpolation) noexcept {
  return kInterpolations[static_cast<std::size_t>(interpolation)];
}
const char* name_of(PixelLayout layout) noexcept {
  return kLayouts[static_cast<std::size_t>(layout)];
}

CropKind crop_kind_from_name(const std::string& name) {
  return static_cast<CropKind>(number_of_name("crop", name, kCrops));
}
Interpolation interpolation_from_name(const std::string& name) {
  return static_cast<Interpolation>(number_of_name("interpolation", name, kInterpolations));
}
PixelLayout pixel_layout_from_name(const std::string& name) {
  return static_cast<PixelLayout>(number_of_name("layout", name, kLayouts));
}

namespace image {

void check_options(const ImageTransformOptions& o) {
  constexpr std::int64_t kLargestSide = 16384;
  constexpr double kSmallestScale = 1e-6;
  check_between<std::int64_t>("height", o.height, 1, kLargestSide, "give the size in pixels");
  check_between<std::int64_t>("width", o.width, 1, kLargestSide, "give the size in pixels");
  check_range("scale", o.scale, kSmallestScale, 1.0, "it is the share of the picture's area");
  check_range("ratio", o.ratio, 1e-3, 1e3, "it is width / height");
  for (const auto& [name, value] : {std::pair{"jitter_probability", o.jitter_probability},
                                    std::pair{"grayscale_probability", o.grayscale_probability},
                                    std::pair{"blur_probability", o.blur_probability},
                                    std::pair{"flip_probability", o.flip_probability}}) {
    check_between(name, value, 0.0, 1.0, "0 turns it off");
  }
  for (const auto& [name, value] :
       {std::pair{"brightness", o.brightness}, std::pair{"contrast", o.contrast},
        std::pair{"saturation", o.saturation}}) {
    check_between(name, value, 0.0, 100.0, "factors are drawn from 1 - s .. 1 + s");
  }
  check_between("hue", o.hue, 0.0, 0.5, "shifts are drawn from -hue .. hue turns");
  check_range("blur_sigma", o.blur_sigma, 0.0, 8.0, "it is in pixels of the result");
  check_between<std::int64_t>("resize", o.resize, 0, kLargestSide, "0 is the size itself");
  if (o.resize > 0 && o.crop != CropKind::shortest) {
    refuse("resize is ", o.resize, " and crop is '", name_of(o.crop),
           "', but only 'shortest' resizes to one size and keeps the centre of it; leave it out");
  }
  if (o.max_aspect != 0.0 && !(o.max_aspect >= 1.0)) {
    refuse("max_aspect is ", o.max_aspect,
           ", but must be 1 or more, the longer side over the shorter; 0 allows any");
  }
  if (o.dtype != DType::float32 && o.dtype != DType::float16 && o.dtype != DType::bfloat16 &&
      o.dtype != DType::uint8) {
    refuse("dtype is ", name_of(o.dtype), ", but must be float32, float16, bfloat16 or uint8");
  }
  for (std::size_t channel = 0; channel < 3; ++channel) {
    if (!std::isfinite(o.mean[channel])) {
      refuse("mean of channel ", channel, " is ", o.mean[channel],
             ", but must be finite; pixels are 0 .. 1 before it is taken off");
    }
    if (!(o.stddev[channel] > 0.0) || !std::isfinite(o.stddev[channel])) {
      refuse("std of channel ", channel, " is ", o.stddev[channel],
             ", but must be finite and above 0; 1 leaves values as they are");
    }
  }
  if (o.max_pixels < 1) {
    refuse("max_pixels is ", o.max_pixels, ", but must be 1 or more; leave it out");
  }
  if (!(o.max_seconds > 0.0)) {
    refuse("max_seconds is ", o.max_seconds, ", but must be above 0; infinity sets no limit");
  }
  if (o.max_bytes < 1) {
    refuse("max_bytes is ", o.max_bytes, ", but must be 1 or more; leave it out");
  }
}

}  // namespace image
}  // namespace helip
