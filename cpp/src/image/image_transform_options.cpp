#include "image/image_transform_options.h"

#include <cmath>
#include <sstream>
#include <string>

#include "base/refuse.h"

namespace helip {
namespace {

template <typename Value>
std::string text_of(Value value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

std::string text_of(const DrawRange& range) {
  return "(" + text_of(range[0]) + ", " + text_of(range[1]) + ")";
}

template <typename Value>
void check_between(const char* name, Value value, Value low, Value high, const char* remedy) {
  if (value >= low && value <= high) return;  // a NaN is not
  refuse(std::string(name) + " is " + text_of(value) + ", but must be " + text_of(low) + " .. " +
         text_of(high) + "; " + remedy);
}

void check_range(const char* name, const DrawRange& range, double low, double high,
                 const char* remedy) {
  if (range[0] >= low && range[0] <= range[1] && range[1] <= high) return;
  refuse(std::string(name) + " is " + text_of(range) + ", but must be (low, high) with " +
         text_of(low) + " <= low <= high <= " + text_of(high) + "; " + remedy);
}

template <typename Kind>
Kind from_name(const char* what, const std::string& name, std::initializer_list<Kind> kinds) {
  std::string all;
  for (const Kind kind : kinds) {
    if (name == name_of(kind)) return kind;
    all += (all.empty() ? "" : ", ") + std::string(name_of(kind));
  }
  refuse(std::string(what) + " is '" + name + "', but must be one of " + all);
}

}  // namespace

const char* name_of(CropKind kind) noexcept {
  switch (kind) {
    case CropKind::random: return "random";
    case CropKind::shortest: return "shortest";
    case CropKind::longest: return "longest";
    case CropKind::squash: return "squash";
  }
  return "unknown";
}

const char* name_of(Interpolation interpolation) noexcept {
  return interpolation == Interpolation::bilinear ? "bilinear" : "bicubic";
}

const char* name_of(PixelLayout layout) noexcept {
  return layout == PixelLayout::nhwc ? "nhwc" : "nchw";
}

CropKind crop_kind_from_name(const std::string& name) {
  return from_name("crop", name,
                   {CropKind::random, CropKind::shortest, CropKind::longest, CropKind::squash});
}

Interpolation interpolation_from_name(const std::string& name) {
  return from_name("interpolation", name, {Interpolation::bilinear, Interpolation::bicubic});
}

PixelLayout pixel_layout_from_name(const std::string& name) {
  return from_name("layout", name, {PixelLayout::nhwc, PixelLayout::nchw});
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
    refuse("resize is " + text_of(o.resize) + " and crop is '" + name_of(o.crop) +
           "', but only 'shortest' resizes to one size and keeps the centre of it; leave it out");
  }
  if (o.max_aspect != 0.0 && !(o.max_aspect >= 1.0)) {
    refuse("max_aspect is " + text_of(o.max_aspect) +
           ", but must be 1 or more, the longer side over the shorter; 0 allows any");
  }
  if (o.dtype != DType::float32 && o.dtype != DType::float16 && o.dtype != DType::bfloat16 &&
      o.dtype != DType::uint8) {
    refuse(std::string("dtype is ") + name_of(o.dtype) +
           ", but must be float32, float16, bfloat16 or uint8");
  }
  for (std::size_t channel = 0; channel < 3; ++channel) {
    if (!std::isfinite(o.mean[channel])) {
      refuse("mean of channel " + std::to_string(channel) + " is " + text_of(o.mean[channel]) +
             ", but must be finite; pixels are 0 .. 1 before it is taken off");
    }
    if (!(o.stddev[channel] > 0.0) || !std::isfinite(o.stddev[channel])) {
      refuse("std of channel " + std::to_string(channel) + " is " + text_of(o.stddev[channel]) +
             ", but must be finite and above 0; 1 leaves values as they are");
    }
  }
  if (o.max_pixels < 1) {
    refuse("max_pixels is " + text_of(o.max_pixels) + ", but must be 1 or more; leave it out");
  }
  if (!(o.max_seconds > 0.0)) {
    refuse("max_seconds is " + text_of(o.max_seconds) +
           ", but must be above 0; infinity sets no limit");
  }
  if (o.max_bytes < 1) {
    refuse("max_bytes is " + text_of(o.max_bytes) + ", but must be 1 or more; leave it out");
  }
}

}  // namespace image
}  // namespace helip
