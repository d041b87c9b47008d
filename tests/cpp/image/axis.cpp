#include "image/axis.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <numeric>

#include "base/counter_random.h"

namespace {

using helip::Interpolation;
using namespace helip::image;

AxisWeights weights_of(const Axis& axis, Interpolation interpolation) {
  AxisWeights weights;
  std::vector<double> draft;
  make_weights(axis, interpolation, weights, draft);
  return weights;
}

// The filter on real numbers, by its definition.
double filter(Interpolation interpolation, double x) {
  x = std::abs(x);
  if (interpolation == Interpolation::bilinear) return std::max(1.0 - x, 0.0);
  if (x < 1.0) return 1.5 * x * x * x - 2.5 * x * x + 1.0;
  if (x < 2.0) return -0.5 * x * x * x + 2.5 * x * x - 4.0 * x + 2.0;
  return 0.0;
}

}  // namespace

TEST_CASE("weights sum to one exactly and are those of the widened filter") {
  helip::random::CounterRandom random{1};
  for (const Interpolation interpolation : {Interpolation::bilinear, Interpolation::bicubic}) {
    for (int trial = 0; trial < 200; ++trial) {
      const std::int64_t low = random.below(50);
      const std::int64_t high = low + 1 + random.below(700);
      const Axis axis = axis_over(low, high, 1 + random.below(300));
      const AxisWeights found = weights_of(axis, interpolation);
      REQUIRE(found.stride % 4 == 0);
      for (std::int64_t o = 0; o < found.count; ++o) {
        const std::int16_t* weights = found.weights.data() + o * found.stride;
        const std::int64_t first = found.first[static_cast<std::size_t>(o)];
        const double unit = std::ldexp(1.0, found.precision[static_cast<std::size_t>(o)]);
        double rounding = 0.0;
        REQUIRE(std::accumulate(weights, weights + found.stride, 0) == static_cast<int>(unit));
        REQUIRE(first >= low);
        const double widened = std::max(axis.step, 1.0);
        const double centre = axis.start + (static_cast<double>(o) + 0.5) * axis.step;
        double sum = 0.0;
        for (std::int64_t i = low; i < high; ++i) {
          sum += filter(interpolation, (static_cast<double>(i) + 0.5 - centre) / widened);
        }
        for (std::int64_t i = 0; i < found.stride; ++i) {
          const bool inside = first + i < high;
          const double expected =
              inside ? filter(interpolation,
                              (static_cast<double>(first + i) + 0.5 - centre) / widened) /
                           sum
                     : 0.0;
          const double off = std::abs(weights[i] - expected * unit);
          REQUIRE(off <= 0.5 * static_cast<double>(found.taps) + 0.5);
          rounding += off;
        }
        // The heaviest takes what all leave over.
        REQUIRE(rounding <= static_cast<double>(found.taps));
      }
    }
  }
}

TEST_CASE("a mirrored axis looks at the same pixels in reverse") {
  const Axis axis = axis_over(3, 90, 20);
  const AxisWeights plain = weights_of(axis, Interpolation::bicubic);
  const AxisWeights mirror = weights_of(mirrored(axis), Interpolation::bicubic);
  for (std::size_t o = 0; o < 20; ++o) CHECK(plain.first[o] == mirror.first[19 - o]);
}

TEST_CASE("an extent holds every pixel with a weight") {
  helip::random::CounterRandom random{2};
  for (int trial = 0; trial < 300; ++trial) {
    const std::int64_t low = random.below(50);
    Axis axis = axis_over(low, low + 1 + random.below(200), 1 + random.below(100));
    axis = scaled(axis, random.below(2) == 0 ? 1.0 : 0.25);
    if (random.below(2) == 0) axis = mirrored(axis);
    const Extent extent = extent_of(axis, Interpolation::bicubic);
    const AxisWeights weights = weights_of(axis, Interpolation::bicubic);
    for (std::int64_t o = 0; o < weights.count; ++o) {
      const std::int64_t first = weights.first[static_cast<std::size_t>(o)];
      REQUIRE(first >= extent.first);
      for (std::int64_t i = 0; i < weights.stride; ++i) {
        if (weights.weights[static_cast<std::size_t>(o * weights.stride + i)] != 0) {
          REQUIRE(first + i < extent.last);
        }
      }
    }
  }
}

TEST_CASE("a picture of very many pixels has weights too") {
  const AxisWeights weights = weights_of(axis_over(0, 24'000, 3), Interpolation::bicubic);
  for (std::size_t o = 0; o < 3; ++o) {
    const auto begin = weights.weights.begin() + static_cast<std::ptrdiff_t>(o) * weights.stride;
    CHECK(weights.precision[o] == 20);
    CHECK(std::accumulate(begin, begin + weights.stride, 0) == 1 << 20);
  }
}
