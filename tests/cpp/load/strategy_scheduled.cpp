#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "helip/batch_sampler.h"
#include "support/batch_samples.h"

namespace helip {

using test::disjoint;
using test::epoch_of;
using test::hard_of;
using test::ring;
using test::table;

TEST_CASE("hard pairs come from the window of the step", "[strategy_scheduled]") {
  // From the ranks 6 and 7 to the ranks 0 and 1, in two epochs.
  BatchSampler sampler(disjoint(60, 8),
                       {.batch_size = 12,
                        .rank_min = 6,
                        .rank_max = 8,
                        .schedule = {.epochs = 2.0, .rank_min = 0, .rank_max = 2}});
  std::map<std::int64_t, int> drawn;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    sampler.set_epoch(epoch);
    for (std::int64_t step = 0; step < sampler.batches_per_epoch(); ++step) {
      const Hardness now = sampler.hardness(step);
      const double share = std::min(
          1.0,
          (static_cast<double>(epoch) + static_cast<double>(sampler.targets_before(step)) / 60.0) /
              2.0);
      CHECK(now.rank_min == std::llround(6.0 * (1.0 - share)));
      for (const auto& [target, hard] : hard_of(sampler.batch(step))) {
        const std::int64_t rank = hard.at(0) - 60 - target * 8;
        CHECK(rank >= now.rank_min);
        CHECK(rank < now.rank_max);
        ++drawn[rank];
      }
    }
  }
  CHECK(drawn.size() == 8);
  CHECK(drawn[0] + drawn[1] > 60);  // the whole third epoch
}

TEST_CASE("a falling temperature goes from nearly uniform to the best", "[strategy_scheduled]") {
  BatchSampler sampler(disjoint(400, 4, 0.1F),
                       {.batch_size = 800,
                        .draw_temperature = 100.0,
                        .schedule = {.epochs = 20.0, .draw_temperature = 1e-6}});
  const auto share_of_best = [&](std::int64_t first, std::int64_t last) {
    int best = 0;
    int all = 0;
    for (std::int64_t epoch = first; epoch < last; ++epoch) {
      sampler.set_epoch(epoch);
      for (const auto& [target, hard] : hard_of(sampler.batch(0))) {
        best += hard.at(0) == 400 + target * 4 ? 1 : 0;
        ++all;
      }
    }
    return static_cast<double>(best) / all;
  };
  CHECK(std::abs(share_of_best(0, 5) - 0.25) < 0.04);
  CHECK(share_of_best(20, 22) == 1.0);
}

TEST_CASE("hardness is the same on every rank and does not depend on the batch size",
          "[strategy_scheduled]") {
  const HardnessSchedule schedule{.epochs = 1.0, .shape = ScheduleShape::cosine, .rank_max = 1};
  for (const std::int64_t rank : {0, 1, 3}) {
    BatchSampler four(ring(96, 16),
                      {.batch_size = 8, .rank = rank, .world_size = 4, .schedule = schedule});
    BatchSampler one(ring(96, 16), {.batch_size = 32, .schedule = schedule});
    REQUIRE(four.batches_per_epoch() == one.batches_per_epoch());
    for (std::int64_t step = 0; step < one.batches_per_epoch(); ++step) {
      CHECK(four.hardness(step).rank_max == one.hardness(step).rank_max);
    }
  }
}

TEST_CASE("what is left of an epoch goes on with the hardness of its place",
          "[strategy_scheduled]") {
  const BatchOptions options{.batch_size = 8, .schedule = {.epochs = 1.0, .rank_max = 1}};
  BatchSampler whole(ring(96, 16), options);
  BatchSampler rest(ring(96, 16), options);
  rest.set_epoch(0, whole.targets_before(10));
  CHECK(rest.hardness(0).rank_max == whole.hardness(10).rank_max);
  CHECK(rest.hardness(0).rank_max < whole.hardness(0).rank_max);
}

TEST_CASE("a target must have hard pairs all the way", "[strategy_scheduled]") {
  const auto pairs = table({{2, 3, 1}, {3, 2}, {0}, {}}, 3);
  const HardnessSchedule down{.epochs = 1.0, .rank_min = 0, .rank_max = 1};
  BatchSampler sampler(pairs, {.rank_min = 1, .schedule = down});
  CHECK(sampler.eligible_targets() == 2);
  sampler.set_epoch(5);
  CHECK(sampler.batch(0).index.size() == 4);
  const HardnessSchedule up{.epochs = 1.0, .rank_min = 2};
  CHECK(BatchSampler(pairs, {.schedule = up}).eligible_targets() == 1);
}

TEST_CASE("schedules outside their bounds are refused", "[strategy_scheduled]") {
  const auto refuses = [](const BatchOptions& options, const char* part) {
    test::refuses(ring(20, 4), options, part);
  };
  refuses({.schedule = {.epochs = -1.0, .rank_max = 2}}, "epochs = -1");
  refuses({.schedule = {.epochs = std::nan(""), .rank_max = 2}}, "epochs = nan");
  refuses({.schedule = {.epochs = 1.0}}, "changes nothing");
  refuses({.schedule = {.epochs = 1.0, .rank_max = 5}}, "[0, 5)");
  refuses({.schedule = {.epochs = 1.0, .rank_min = 4}}, "[4, 4)");
  refuses({.hard_per_target = 2, .schedule = {.epochs = 1.0, .rank_max = 1}},
          "hold hard_per_target = 2");
  refuses({.schedule = {.epochs = 1.0, .draw_temperature = 0.1}}, "none to start from");
  refuses({.draw_temperature = 1.0, .schedule = {.epochs = 1.0, .draw_temperature = 0.0}},
          "above 0");
}

}  // namespace helip
