#include "image/crop.h"

#include <algorithm>
#include <cmath>

namespace helip::image {
namespace {

constexpr int kTries = 10;

// To the nearest, halves to even: Python's round().
int64_t rounded(double value) noexcept {
  const double floor = std::floor(value);
  const double rest = value - floor;
  const auto low = static_cast<int64_t>(floor);
  if (rest < 0.5) return low;
  if (rest > 0.5) return low + 1;
  return low % 2 == 0 ? low : low + 1;
}

double between(const DrawRange& range, random::CounterRandom& random) noexcept {
  return range[0] + (range[1] - range[0]) * random.unit();
}

// One side of an image of `length`, resized to `resized`, of which the centre `wanted` is kept.
struct Side {
  Axis axis;
  int64_t before = 0;  // filled pixels
};

Side centre_of(int64_t length, int64_t resized, int64_t wanted) noexcept {
  Side side;
  int64_t first = 0;
  if (resized < wanted) {
    side.before = (wanted - resized) / 2;
  } else {
    first = rounded(static_cast<double>(resized - wanted) / 2.0);
  }
  side.axis = axis_over(0, length, resized);
  side.axis.start = static_cast<double>(first) * side.axis.step;
  side.axis.count = std::min(resized, wanted);
  return side;
}

Crop centre_crop(Size image, Size resized, Size wanted) noexcept {
  const Side rows = centre_of(image.height, resized.height, wanted.height);
  const Side columns = centre_of(image.width, resized.width, wanted.width);
  return {rows.axis, columns.axis, rows.before, columns.before};
}

// Both sides divided by one ratio, as open_clip's ResizeKeepRatio does.
Size resized_by(Size image, double ratio) noexcept {
  const auto side = [&](int64_t length) {
    return std::max<int64_t>(rounded(static_cast<double>(length) / ratio), 1);
  };
  return {side(image.height), side(image.width)};
}

// The shorter side becomes `size`, the longer is cut down to a whole number: torchvision's Resize.
Size shortest_to(Size image, int64_t size) noexcept {
  const auto longer = [size](int64_t longest, int64_t shortest) {
    return static_cast<int64_t>(static_cast<double>(size * longest) /
                                static_cast<double>(shortest));
  };
  if (image.width <= image.height) return {longer(image.height, image.width), size};
  return {size, longer(image.width, image.height)};
}

}  // namespace

Region random_region(Size image, const DrawRange& scale, const DrawRange& ratio,
                     random::CounterRandom& random) {
  const auto height = static_cast<double>(image.height);
  const auto width = static_cast<double>(image.width);
  const DrawRange log_ratio{random::portable_log(ratio[0]), random::portable_log(ratio[1])};
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const double area = height * width * between(scale, random);
    const double aspect = random::portable_exp(between(log_ratio, random));
    const Region region{0, 0, rounded(std::sqrt(area / aspect)), rounded(std::sqrt(area * aspect))};
    if (region.height < 1 || region.height > image.height || region.width < 1 ||
        region.width > image.width) {
      continue;
    }
    const int64_t top = random.below(image.height - region.height + 1);
    const int64_t left = random.below(image.width - region.width + 1);
    return {top, left, region.height, region.width};
  }
  Region region{0, 0, image.height, image.width};
  if (width / height < ratio[0]) {
    region.height = std::clamp<int64_t>(rounded(width / ratio[0]), 1, image.height);
  } else if (width / height > ratio[1]) {
    region.width = std::clamp<int64_t>(rounded(height * ratio[1]), 1, image.width);
  }
  region.top = (image.height - region.height) / 2;
  region.left = (image.width - region.width) / 2;
  return region;
}

Crop crop_of(const ImageTransformOptions& options, Size image, random::CounterRandom& random) {
  const Size wanted{options.height, options.width};
  const double by_height = static_cast<double>(image.height) / static_cast<double>(wanted.height);
  const double by_width = static_cast<double>(image.width) / static_cast<double>(wanted.width);
  switch (options.crop) {
    case CropKind::random: {
      const Region region = random_region(image, options.scale, options.ratio, random);
      return {axis_over(region.top, region.top + region.height, wanted.height),
              axis_over(region.left, region.left + region.width, wanted.width)};
    }
    case CropKind::shortest:
      if (options.resize > 0 || wanted.height == wanted.width) {
        const int64_t shorter = options.resize > 0 ? options.resize : wanted.height;
        return centre_crop(image, shortest_to(image, shorter), wanted);
      }
      return centre_crop(image, resized_by(image, std::min(by_height, by_width)), wanted);
    case CropKind::longest:
      return centre_crop(image, resized_by(image, std::max(by_height, by_width)), wanted);
    case CropKind::squash: break;
  }
  return {axis_over(0, image.height, wanted.height), axis_over(0, image.width, wanted.width)};
}

}  // namespace helip::image
