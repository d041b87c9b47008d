#include "load/strategy_shared.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <set>
#include <vector>

#include "helip/batch_sampler.h"
#include "support/batch_samples.h"

namespace helip {

using test::disjoint;
using test::groups_of_rows;
using test::next_targets;
using test::ring;
using test::table;

TEST_CASE("a row of the batch counts for a target before another row comes in",
          "[strategy_shared]") {
  // 0 and 1 are hard pairs of each other, 2 has neither of them.
  const auto pairs = table({{1, 3}, {0, 4}, {5, 6}, {}, {}, {}, {}}, 2);
  BatchSampler sampler(pairs, {.batch_size = 6, .strategy = BatchStrategy::shared});
  const BatchRows batch = sampler.batch(0);
  REQUIRE(batch.index.size() == 4);
  for (std::size_t place = 0; place < 3; ++place) {
    const std::int64_t served = batch.index[static_cast<std::size_t>(batch.target[place])];
    if (batch.index[place] == 0) CHECK(served == 1);
    if (batch.index[place] == 1) CHECK(served == 0);
    if (batch.index[place] == 2) CHECK(served == 2);
  }
  CHECK(batch.index[static_cast<std::size_t>(batch.target[3])] == 2);
  const BatchStatistics& counted = sampler.statistics();
  CHECK(counted.shared == 2);
  CHECK(counted.hard_pairs == 1);
  CHECK(counted.unfilled == 0);
}

TEST_CASE("one row serves several targets, and target names the first of them",
          "[strategy_shared]") {
  const auto pairs = table({{3}, {3}, {3}, {}}, 1);
  BatchSampler sampler(
      pairs, {.batch_size = 4, .strategy = BatchStrategy::shared, .targets_per_batch = 3});
  const BatchRows batch = sampler.batch(0);
  CHECK(batch.index.size() == 4);
  CHECK(batch.index.back() == 3);
  CHECK(batch.target == std::vector<std::int64_t>{0, 1, 2, 0});
  CHECK(sampler.statistics().hard_pairs == 1);
  CHECK(sampler.statistics().shared == 2);
}

TEST_CASE("every row serves a target whose window it is in, and no batch is too large",
          "[strategy_shared]") {
  for (const std::int64_t p : {1, 3}) {
    BatchSampler sampler(ring(301, 12), {.batch_size = 40,
                                         .hard_per_target = p,
                                         .seed = 7,
                                         .rank_min = 1,
                                         .rank_max = 11,
                                         .strategy = BatchStrategy::shared,
                                         .targets_per_batch = 25});
    std::vector<std::int64_t> seen;
    for (std::int64_t step = 0; step < sampler.batches_per_epoch(); ++step) {
      const auto targets = next_targets(sampler, step);
      seen.insert(seen.end(), targets.begin(), targets.end());
      const BatchRows batch = sampler.batch(step);
      CHECK(batch.index.size() <= 40);
      CHECK(std::set<std::int64_t>(batch.index.begin(), batch.index.end()).size() ==
            batch.index.size());
      for (std::size_t place = 0; place < batch.index.size(); ++place) {
        const auto served = static_cast<std::size_t>(batch.target[place]);
        CHECK(served < targets.size());
        if (served == place) continue;
        const std::int64_t ahead = (batch.index[place] - batch.index[served] + 301) % 301;
        CHECK(ahead >= 2);
        CHECK(ahead <= 11);
      }
    }
    std::sort(seen.begin(), seen.end());
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
    CHECK(seen.size() == 301);
    const BatchStatistics& counted = sampler.statistics();  // each batch was made twice
    CHECK(counted.hard_pairs + counted.shared + counted.unfilled == 2 * 301 * p);
    CHECK(counted.shared > 0);
    CHECK(counted.replaced == 0);
  }
}

TEST_CASE("where targets are each other's hard pairs, a batch needs no other rows",
          "[strategy_shared]") {
  BatchSampler sampler(
      groups_of_rows(1, 32),
      {.batch_size = 32, .strategy = BatchStrategy::shared, .targets_per_batch = 32});
  const BatchRows batch = sampler.batch(0);
  CHECK(batch.index.size() == 32);
  CHECK(sampler.statistics().shared == 32);
  CHECK(sampler.statistics().unfilled == 0);
}

TEST_CASE("places without room stay empty and are counted", "[strategy_shared]") {
  BatchSampler sampler(
      disjoint(20, 3),
      {.batch_size = 14, .strategy = BatchStrategy::shared, .targets_per_batch = 10});
  CHECK(sampler.batches_per_epoch() == 2);
  CHECK(sampler.batch(0).index.size() == 14);
  CHECK(sampler.statistics().hard_pairs == 4);
  CHECK(sampler.statistics().unfilled == 6);
}

TEST_CASE("random rows fill in while there is room", "[strategy_shared]") {
  const auto pairs = table(std::vector<std::vector<std::int64_t>>(30), 2);
  BatchSampler sampler(pairs, {.batch_size = 8,
                               .short_policy = ShortPolicy::random,
                               .strategy = BatchStrategy::shared,
                               .targets_per_batch = 6});
  CHECK(sampler.batch(0).index.size() == 8);
  CHECK(sampler.statistics().random_fills == 2);
  CHECK(sampler.statistics().unfilled == 4);
}

TEST_CASE("draws follow the temperature among rows that come in", "[strategy_shared]") {
  BatchSampler sampler(
      disjoint(200, 5),
      {.batch_size = 400, .draw_temperature = 1e-9, .strategy = BatchStrategy::shared});
  for (const auto& [target, hard] : test::hard_of(sampler.batch(0))) {
    CHECK(hard.at(0) == 200 + target * 5);
  }
}

TEST_CASE("shared batches are frozen", "[strategy_shared]") {
  BatchSampler sampler(ring(997, 7), {.batch_size = 64,
                                      .hard_per_target = 2,
                                      .seed = 42,
                                      .strategy = BatchStrategy::shared,
                                      .targets_per_batch = 40});
  CHECK(test::digest(test::epoch_of(sampler)) == 0x3cf532a538a3df60ULL);
}

TEST_CASE("shared options outside their bounds are refused", "[strategy_shared]") {
  const auto refuses = [](BatchOptions options, const char* part) {
    options.strategy = BatchStrategy::shared;
    test::refuses(ring(20, 4), options, part);
  };
  refuses({.hard_per_target = 0}, "hard_per_target of at least 1");
  refuses({.batch_size = 8, .targets_per_batch = 9}, "targets_per_batch = 9");
  refuses({.targets_per_batch = -1}, "targets_per_batch = -1");
  refuses({.batch_size = 8, .world_size = 3, .targets_per_batch = 1}, "targets_per_batch to 2");
}

}  // namespace helip
