#include "image/crop.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>

namespace {

using namespace helip::image;
using helip::CropKind;
using helip::random::CounterRandom;

}  // namespace

TEST_CASE("a random region lies in the picture with an area and a ratio of those allowed") {
  CounterRandom random{1};
  double smallest = 1.0;
  double largest = 0.0;
  for (int trial = 0; trial < 5000; ++trial) {
    const Region region = random_region({300, 400}, {0.2, 0.9}, {0.75, 4.0 / 3.0}, random);
    REQUIRE(region.top >= 0);
    REQUIRE(region.left >= 0);
    REQUIRE(region.top + region.height <= 300);
    REQUIRE(region.left + region.width <= 400);
    const auto height = static_cast<double>(region.height);
    const auto width = static_cast<double>(region.width);
    const double share = height * width / (300.0 * 400.0);
    smallest = std::min(smallest, share);
    largest = std::max(largest, share);
    REQUIRE(share > 0.19);
    REQUIRE(share < 0.91);
    REQUIRE(width / height > 0.73);
    REQUIRE(width / height < 1.37);
  }
  CHECK(smallest < 0.21);
  CHECK(largest > 0.88);
}

TEST_CASE("a picture that is too long gives the largest centre of an allowed ratio") {
  CounterRandom random{2};
  CHECK(random_region({10, 1000}, {1.0, 1.0}, {0.75, 4.0 / 3.0}, random) ==
        Region{0, (1000 - 13) / 2, 10, 13});
  CHECK(random_region({1000, 9}, {1.0, 1.0}, {0.75, 4.0 / 3.0}, random) ==
        Region{(1000 - 12) / 2, 0, 12, 9});
}

TEST_CASE("a single pixel can be cropped") {
  CounterRandom random{3};
  CHECK(random_region({1, 1}, {0.08, 1.0}, {0.75, 4.0 / 3.0}, random) == Region{0, 0, 1, 1});
}

TEST_CASE("the centre of the shorter side, and the frame of the longer") {
  CounterRandom random{4};
  helip::ImageTransformOptions options;
  options.height = options.width = 100;
  options.crop = CropKind::shortest;
  // 200 x 301 becomes 100 x 150 (cut down from 150.5), of which 25 .. 125 is kept.
  const Crop centre = crop_of(options, {200, 301}, random);
  CHECK(centre.rows.count == 100);
  CHECK(centre.columns.step == 301.0 / 150.0);
  CHECK(centre.columns.start == 25.0 * (301.0 / 150.0));
  options.resize = 120;
  // 200 x 301 becomes 120 x 180, of which 10 .. 110 and 40 .. 140 are kept.
  const Crop inner = crop_of(options, {200, 301}, random);
  CHECK(inner.rows.count == 100);
  CHECK(inner.rows.start == 10.0 * (200.0 / 120.0));
  CHECK(inner.columns.start == 40.0 * (301.0 / 180.0));
  options.resize = 0;
  options.crop = CropKind::longest;
  // 300 x 200 becomes 100 x 67, with 16 filled columns to the left.
  const Crop frame = crop_of(options, {300, 200}, random);
  CHECK(frame.columns.count == 67);
  CHECK(frame.left == 16);
  CHECK(frame.rows.count == 100);
  CHECK(frame.top == 0);
}
