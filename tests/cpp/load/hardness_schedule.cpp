#include "load/hardness_schedule.h"

#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace helip::load {
namespace {

constexpr std::int64_t kPool = 100;

BatchOptions falling(ScheduleShape shape) {
  return {
      .rank_min = 50,
      .rank_max = 100,
      .draw_temperature = 0.9,
      .schedule = {
          .epochs = 2.0, .shape = shape, .rank_min = 0, .rank_max = 10, .draw_temperature = 0.1}};
}

}  // namespace

TEST_CASE("a linear schedule goes evenly from start to end, and stays there",
          "[hardness_schedule]") {
  const BatchOptions options = falling(ScheduleShape::linear);
  for (double epochs = 0.0; epochs <= 3.0; epochs += 0.01) {
    const double share = std::min(1.0, epochs / 2.0);
    const Hardness now = scheduled_hardness(options, kPool, epochs);
    CHECK(now.rank_min == std::llround(50.0 - 50.0 * share));
    CHECK(now.rank_max == std::llround(100.0 - 90.0 * share));
    CHECK(std::abs(now.draw_temperature - (0.9 - 0.8 * share)) < 1e-15);
  }
  CHECK(scheduled_hardness(options, kPool, 7.0).draw_temperature == 0.1);
}

TEST_CASE("a cosine schedule follows the cosine to the last digits", "[hardness_schedule]") {
  const BatchOptions options = falling(ScheduleShape::cosine);
  for (int i = 0; i <= 1000; ++i) {
    const double epochs = i / 500.0;
    const double share = 0.5 * (1.0 - std::cos(std::numbers::pi * epochs / 2.0));
    const Hardness now = scheduled_hardness(options, kPool, epochs);
    CHECK(std::abs(now.draw_temperature - (0.9 - 0.8 * share)) < 4e-16);
  }
  CHECK(scheduled_hardness(options, kPool, 0.0).draw_temperature == 0.9);
  CHECK(scheduled_hardness(options, kPool, 2.0).draw_temperature == 0.1);
  CHECK(scheduled_hardness(options, kPool, 1.0).rank_min == 25);
}

TEST_CASE("a schedule has the same bits on every machine", "[hardness_schedule]") {
  const BatchOptions options = falling(ScheduleShape::cosine);
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (int i = 0; i <= 1000; ++i) {
    const Hardness now = scheduled_hardness(options, kPool, i / 500.0);
    hash = (hash ^ std::bit_cast<std::uint64_t>(now.draw_temperature)) * 0x100000001b3ULL;
  }
  CHECK(hash == 0xa8c6617e2118551fULL);
}

TEST_CASE("what has no end stays, and the pool size can be an end", "[hardness_schedule]") {
  const BatchOptions options{
      .rank_min = 3, .rank_max = 10, .schedule = {.epochs = 1.0, .rank_max = 0}};
  CHECK(scheduled_hardness(options, kPool, 0.0).rank_max == 10);
  CHECK(scheduled_hardness(options, kPool, 0.5).rank_max == 55);
  CHECK(scheduled_hardness(options, kPool, 0.5).rank_min == 3);
  CHECK(scheduled_hardness(options, kPool, 0.5).draw_temperature == 0.0);
  CHECK(scheduled_hardness(options, kPool, 1.0).rank_max == kPool);
}

TEST_CASE("a moving window is never narrower than the hard pairs of a target",
          "[hardness_schedule]") {
  const BatchOptions options{.hard_per_target = 3,
                             .rank_min = 0,
                             .rank_max = 3,
                             .schedule = {.epochs = 1.0, .rank_min = 97, .rank_max = 100}};
  for (int i = 0; i <= 1000; ++i) {
    const Hardness now = scheduled_hardness(options, kPool, i / 1000.0);
    CHECK(now.rank_max - now.rank_min >= 3);
    CHECK(now.rank_max <= kPool);
  }
}

}  // namespace helip::load
