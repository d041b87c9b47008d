// Float32 bounds lie on the right side of the value, and no float32 lies between.
#include "mine/corpus/rounding.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <random>

using helip::mining::rounded_down;
using helip::mining::rounded_up;

TEST_CASE("a value is rounded to the float32 next to it on either side", "[rounding]") {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  for (int i = 0; i < 10000; ++i) {
    const double value = normal(random);
    const float down = rounded_down(value), up = rounded_up(value);
    REQUIRE(static_cast<double>(down) <= value);
    REQUIRE(static_cast<double>(up) >= value);
    REQUIRE(static_cast<double>(std::nextafter(down, 10.0F)) > value);
    REQUIRE(static_cast<double>(std::nextafter(up, -10.0F)) < value);
  }
}

TEST_CASE("a float32 is rounded to itself", "[rounding]") {
  for (const float value : {0.0F, 0.1F, -0.98F, 1.0F, std::numeric_limits<float>::infinity()}) {
    REQUIRE(rounded_down(static_cast<double>(value)) == value);
    REQUIRE(rounded_up(static_cast<double>(value)) == value);
  }
}
