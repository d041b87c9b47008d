#include "image/axis.h"

#include <algorithm>
#include <cmath>
#include <span>

namespace helip::image {
namespace {

// Sums of 255 * |weight| stay within 31 bits: the weights of a result sum to under 1.5 in
// magnitude.
constexpr int kMaxPrecision = 20;
constexpr double kLargestWeight = 32767.0;  // of an int16

struct Filter {
  double support;  // of the filter itself, in pixels to either side
  bool bicubic;

  double operator()(double x) const noexcept {
    x = std::abs(x);
    if (!bicubic) return x < 1.0 ? 1.0 - x : 0.0;
    // Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -0.5.
    constexpr double a = -0.5;
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
  }
};

Filter filter_of(Interpolation interpolation) noexcept {
  return interpolation == Interpolation::bicubic ? Filter{2.0, true} : Filter{1.0, false};
}

struct Window {
  double radius;  // of the widened filter
  int64_t low;    // pixels that may be used
  int64_t high;
};

Window window_of(const Axis& axis, const Filter& filter) noexcept {
  return {filter.support * std::max(std::abs(axis.step), 1.0),
          static_cast<int64_t>(std::floor(axis.low)), static_cast<int64_t>(std::ceil(axis.high))};
}

Extent extent_at(double centre, const Window& window) noexcept {
  const auto first = static_cast<int64_t>(std::floor(centre - window.radius + 0.5));
  const auto last = static_cast<int64_t>(std::floor(centre + window.radius + 0.5));
  return {std::clamp(first, window.low, window.high - 1),
          std::clamp(last, window.low + 1, window.high)};
}

// The largest precision at which all fit; what rounding leaves over goes to the heaviest.
int round_weights(std::span<const double> weights, double sum, std::int16_t* out) noexcept {
  std::size_t heaviest = 0;
  double lightest = 0.0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] > weights[heaviest]) heaviest = i;
    lightest = std::min(lightest, weights[i]);
  }
  const double largest = std::max(weights[heaviest], -lightest) / sum;
  const double room = kLargestWeight - 0.5 * static_cast<double>(weights.size());
  int precision = kMaxPrecision;
  while (largest * std::ldexp(1.0, precision) > room) --precision;
  const double unit = std::ldexp(1.0, precision) / sum;
  std::int32_t left = std::int32_t{1} << precision;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    out[i] = static_cast<std::int16_t>(std::floor(weights[i] * unit + 0.5));
    left -= out[i];
  }
  out[heaviest] = static_cast<std::int16_t>(out[heaviest] + left);
  return precision;
}

double centre_of(const Axis& axis, int64_t o) noexcept {
  return axis.start + (static_cast<double>(o) + 0.5) * axis.step;
}

}  // namespace

Axis axis_over(int64_t low, int64_t high, int64_t count) noexcept {
  return {static_cast<double>(low), static_cast<double>(high - low) / static_cast<double>(count),
          static_cast<double>(low), static_cast<double>(high), count};
}

Axis mirrored(const Axis& axis) noexcept {
  Axis result = axis;
  result.start = axis.start + static_cast<double>(axis.count) * axis.step;
  result.step = -axis.step;
  return result;
}

Axis from_the_end(const Axis& axis, double length) noexcept {
  return {length - axis.start, -axis.step, length - axis.high, length - axis.low, axis.count};
}

Axis scaled(const Axis& axis, double factor) noexcept {
  return {axis.start * factor, axis.step * factor, axis.low * factor, axis.high * factor,
          axis.count};
}

Axis seen_through(const Axis& axis, int64_t first, int64_t length) noexcept {
  const auto by = static_cast<double>(first);
  return {axis.start - by, axis.step, std::max(axis.low - by, 0.0),
          std::min(axis.high - by, static_cast<double>(length)), axis.count};
}

Extent extent_of(const Axis& axis, Interpolation interpolation) noexcept {
  const Window window = window_of(axis, filter_of(interpolation));
  const Extent one = extent_at(centre_of(axis, 0), window);
  const Extent other = extent_at(centre_of(axis, axis.count - 1), window);
  return {std::min(one.first, other.first), std::max(one.last, other.last)};
}

void make_weights(const Axis& axis, Interpolation interpolation, AxisWeights& out,
                  std::vector<double>& draft) {
  const Filter filter = filter_of(interpolation);
  const Window window = window_of(axis, filter);
  const double narrow = 1.0 / std::max(std::abs(axis.step), 1.0);
  const auto count = static_cast<std::size_t>(axis.count);
  // 2 * radius rounded up, and one more where a window lies between pixels.
  const auto room = static_cast<std::size_t>(std::ceil(window.radius)) * 2 + 1;

  draft.resize(room);
  const std::size_t stride = (room + 3) / 4 * 4;
  out.count = axis.count;
  out.stride = static_cast<int64_t>(stride);
  out.first.resize(count);
  out.precision.resize(count);
  out.weights.assign(count * stride, 0);
  std::size_t taps = 1;
  for (std::size_t o = 0; o < count; ++o) {
    const double centre = centre_of(axis, static_cast<int64_t>(o));
    const Extent extent = extent_at(centre, window);
    const auto size = std::min(static_cast<std::size_t>(extent.last - extent.first), room);
    double sum = 0.0;
    for (std::size_t i = 0; i < size; ++i) {
      const auto pixel = static_cast<double>(extent.first + static_cast<int64_t>(i));
      draft[i] = filter((pixel - centre + 0.5) * narrow);
      sum += draft[i];
    }
    // A window that a bound cuts down to one far pixel may weigh nothing.
    if (sum == 0.0) draft[0] = sum = 1.0;
    out.first[o] = static_cast<std::int32_t>(extent.first);
    out.precision[o] = round_weights({draft.data(), size}, sum, out.weights.data() + o * stride);
    taps = std::max(taps, size);
  }
  out.taps = static_cast<int64_t>(taps);
}

}  // namespace helip::image
