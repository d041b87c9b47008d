#include "helip/batch_sampler.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "helip/error.h"
#include "support/batch_samples.h"

namespace {

using Catch::Matchers::ContainsSubstring;
using helip::BatchOptions;
using helip::BatchRows;
using helip::BatchSampler;
using helip::HardPairs;
using helip::ShortPolicy;
using helip::test::digest;
using helip::test::disjoint;
using helip::test::epoch_of;
using helip::test::hard_of;
using helip::test::ring;
using helip::test::table;
using helip::test::targets_of;

void refuses(const BatchOptions& options, const std::string& part) {
  helip::test::refuses(ring(20, 4), options, part);
}

}  // namespace

TEST_CASE("every row is a target exactly once in an epoch, over all ranks, evenly spread") {
  for (const std::int64_t rows : {5, 64, 65, 127, 1000}) {
    for (const std::int64_t world : {1, 2, 5}) {
      for (const std::int64_t per_batch : {2, 7, 32}) {
        std::vector<std::int64_t> seen;
        std::set<std::size_t> sizes;
        for (std::int64_t rank = 0; rank < world; ++rank) {
          BatchSampler sampler(ring(rows, 3), {.batch_size = per_batch * 3 + 2,
                                               .hard_per_target = 2,
                                               .rank = rank,
                                               .world_size = world});
          CHECK(sampler.batches_per_epoch() ==
                (rows + per_batch * world - 1) / (per_batch * world));
          for (const BatchRows& batch : epoch_of(sampler)) {
            const auto targets = targets_of(batch);
            sizes.insert(targets.size());
            seen.insert(seen.end(), targets.begin(), targets.end());
          }
        }
        std::sort(seen.begin(), seen.end());
        std::vector<std::int64_t> all(static_cast<std::size_t>(rows));
        std::iota(all.begin(), all.end(), 0);
        CHECK(seen == all);
        CHECK(*sizes.begin() >= 1);
        CHECK(*sizes.rbegin() - *sizes.begin() <= 1);
        CHECK(*sizes.rbegin() <= static_cast<std::size_t>(per_batch));
      }
    }
  }
}

TEST_CASE("a batch holds its targets, then their hard pairs grouped by target, and no row twice") {
  BatchSampler sampler(
      ring(300, 6),
      {.batch_size = 90, .hard_per_target = 2, .seed = 3, .rank_min = 1, .rank_max = 5});
  for (const BatchRows& batch : epoch_of(sampler)) {
    REQUIRE(batch.index.size() == batch.target.size());
    CHECK(std::set<std::int64_t>(batch.index.begin(), batch.index.end()).size() ==
          batch.index.size());
    CHECK(
        std::is_sorted(batch.target.begin() + static_cast<std::ptrdiff_t>(targets_of(batch).size()),
                       batch.target.end()));
    std::int64_t previous = -1;
    for (std::size_t place = 0; place < batch.index.size(); ++place) {
      const auto served = static_cast<std::size_t>(batch.target[place]);
      if (place < targets_of(batch).size()) {
        CHECK(served == place);
        continue;
      }
      CHECK(batch.target[place] >= previous);
      previous = batch.target[place];
      const std::int64_t distance = (batch.index[place] - batch.index[served] + 300) % 300;
      CHECK(distance >= 2);  // ranks 1 .. 4 of the ring are the rows 2 .. 5 ahead
      CHECK(distance <= 5);
    }
  }
  const auto& counted = sampler.statistics();
  CHECK(counted.targets == 300);
  CHECK(counted.hard_pairs + counted.unfilled == 600);
  CHECK(counted.replaced > 0);
  CHECK(counted.batches == sampler.batches_per_epoch());
}

TEST_CASE("the same options give the same batches, in any order of asking") {
  const BatchOptions options{.batch_size = 24, .seed = 9, .draw_temperature = 0.2};
  BatchSampler forward(ring(200, 5), options);
  BatchSampler backward(ring(200, 5), options);
  forward.set_epoch(4);
  backward.set_epoch(2);
  (void)backward.batch(0);
  backward.set_epoch(4);
  for (std::int64_t step = forward.batches_per_epoch() - 1; step >= 0; --step) {
    const BatchRows again = backward.batch(step);
    const BatchRows batch = forward.batch(step);
    CHECK(batch.index == again.index);
    CHECK(batch.target == again.target);
    CHECK(forward.batch(step).index == batch.index);
  }
  BatchSampler one(ring(200, 5), {.batch_size = 24, .rank = 1, .world_size = 3});
  BatchSampler other(ring(200, 5), {.batch_size = 24, .rank = 2, .world_size = 3});
  CHECK(one.batch(2, 2).index == other.batch(2).index);
  CHECK_THROWS_WITH(one.batch(0, 3), ContainsSubstring("rank = 3 must lie in 0 .. 2"));
}

TEST_CASE("another seed and another epoch give another order") {
  BatchSampler sampler(ring(200, 5), {.seed = 1});
  BatchSampler other(ring(200, 5), {.seed = 2});
  const auto first = sampler.batch(0).index;
  CHECK(other.batch(0).index != first);
  sampler.set_epoch(1);
  CHECK(sampler.epoch() == 1);
  CHECK(sampler.batch(0).index != first);
  sampler.set_epoch(0);
  CHECK(sampler.batch(0).index == first);
}

TEST_CASE("a target's draw depends on seed, epoch and target, not on the batch around it") {
  for (const double temperature : {0.0, 0.1}) {
    std::map<std::int64_t, std::vector<std::int64_t>> alone;
    std::map<std::int64_t, std::vector<std::int64_t>> shared;
    BatchSampler one(
        disjoint(60, 8),
        {.batch_size = 12, .hard_per_target = 3, .seed = 5, .draw_temperature = temperature});
    for (const BatchRows& batch : epoch_of(one)) alone.merge(hard_of(batch));
    for (std::int64_t rank = 0; rank < 3; ++rank) {
      BatchSampler part(disjoint(60, 8), {.batch_size = 40,
                                          .hard_per_target = 3,
                                          .seed = 5,
                                          .rank = rank,
                                          .world_size = 3,
                                          .draw_temperature = temperature});
      for (const BatchRows& batch : epoch_of(part)) shared.merge(hard_of(batch));
    }
    CHECK(alone.size() == 60);
    CHECK(alone == shared);
  }
}

TEST_CASE("hard pairs are drawn uniformly over the window without a temperature") {
  constexpr int kEpochs = 500;
  BatchSampler sampler(disjoint(20, 6), {.hard_per_target = 2, .rank_min = 1, .rank_max = 5});
  std::map<std::int64_t, int> seen;  // rank -> times drawn
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    sampler.set_epoch(epoch);
    for (const auto& [target, hard] : hard_of(sampler.batch(0))) {
      CHECK(hard.size() == 2);
      for (const std::int64_t row : hard) ++seen[row - 20 - target * 6];
    }
  }
  REQUIRE(seen.size() == 4);
  CHECK(seen.begin()->first == 1);
  CHECK(seen.rbegin()->first == 4);
  const double expected = kEpochs * 20 * 2 / 4.0;
  for (const auto& [rank, times] : seen)
    CHECK(std::abs(times - expected) < 4 * std::sqrt(expected));
}

TEST_CASE("with a temperature they follow exp(score / temperature), without replacement") {
  constexpr int kEpochs = 1000;
  constexpr double kTemperature = 0.1;
  BatchSampler sampler(disjoint(20, 4, 0.1F),
                       {.hard_per_target = 2, .seed = 1, .draw_temperature = kTemperature});
  std::map<std::pair<std::int64_t, std::int64_t>, int> seen;  // (first rank, second rank)
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    sampler.set_epoch(epoch);
    for (const auto& [target, hard] : hard_of(sampler.batch(0))) {
      ++seen[{hard.at(0) - 20 - target * 4, hard.at(1) - 20 - target * 4}];
    }
  }
  std::vector<double> weight;
  for (int rank = 0; rank < 4; ++rank)
    weight.push_back(std::exp((0.9 - 0.1 * rank) / kTemperature));
  const double total = std::accumulate(weight.begin(), weight.end(), 0.0);
  const double draws = kEpochs * 20;
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = 0; j < 4; ++j) {
      const auto key = std::make_pair(static_cast<std::int64_t>(i), static_cast<std::int64_t>(j));
      const double share = i == j ? 0.0 : weight[i] / total * weight[j] / (total - weight[i]);
      CHECK(std::abs(seen[key] / draws - share) <= 4 * std::sqrt(share * (1 - share) / draws));
    }
  }
}

TEST_CASE("an extremely low temperature takes the best pairs in order, without overflow") {
  BatchSampler sampler(disjoint(10, 5), {.hard_per_target = 3, .draw_temperature = 1e-300});
  for (const auto& [target, hard] : hard_of(sampler.batch(0))) {
    const std::int64_t first = 10 + target * 5;
    CHECK(hard == std::vector<std::int64_t>{first, first + 1, first + 2});
  }
}

TEST_CASE("equal scores stay equally likely at an extremely low temperature") {
  BatchSampler sampler(disjoint(300, 3, 0.0F), {.batch_size = 600, .draw_temperature = 1e-18});
  std::map<std::int64_t, int> seen;
  for (const auto& [target, hard] : hard_of(sampler.batch(0))) {
    ++seen[(hard.at(0) - 300) % 3];
  }
  REQUIRE(seen.size() == 3);
  for (const auto& [rank, times] : seen) CHECK(std::abs(times - 100) < 35);
}

TEST_CASE("a hard pair that is in the batch already is replaced by the target's next one") {
  // Both targets share the pool {2, 3, 4}; rows 2 to 4 are outliers.
  const auto pairs = table({{2, 3, 4}, {2, 3, 4}, {}, {}, {}}, 3);
  std::int64_t replaced = 0;
  for (int epoch = 0; epoch < 50; ++epoch) {
    BatchSampler sampler(pairs, {.batch_size = 4});
    sampler.set_epoch(epoch);
    const BatchRows batch = sampler.batch(0);
    REQUIRE(batch.index.size() == 4);
    CHECK(batch.target == std::vector<std::int64_t>{0, 1, 0, 1});
    CHECK(batch.index[2] != batch.index[3]);
    CHECK(sampler.statistics().unfilled == 0);
    replaced += sampler.statistics().replaced;
  }
  CHECK(replaced > 4);  // one in three on average
  CHECK(replaced < 35);
}

TEST_CASE("a place stays empty, and is counted, when the whole window is in the batch") {
  // Each target's pool holds the other target and row 2.
  const auto pairs = table({{1, 2}, {0, 2}, {}, {}, {}}, 2);
  BatchSampler sampler(pairs, {.batch_size = 6, .hard_per_target = 2});
  const BatchRows batch = sampler.batch(0);
  CHECK(batch.index.size() == 3);
  CHECK(batch.index.back() == 2);
  CHECK(batch.target == std::vector<std::int64_t>{0, 1, 0});
  CHECK(sampler.statistics().hard_pairs == 1);
  CHECK(sampler.statistics().unfilled == 3);
  CHECK(sampler.statistics().random_fills == 0);
  sampler.reset_statistics();
  CHECK(sampler.statistics().batches == 0);
}

TEST_CASE("short policy skip leaves short targets out, but keeps them as hard pairs") {
  const auto pairs = table({{1, 2}, {0}, {}, {0, 1}}, 2);
  BatchSampler sampler(pairs, {.batch_size = 6, .hard_per_target = 2});
  CHECK(sampler.eligible_targets() == 2);
  CHECK(sampler.skipped_targets() == 2);
  auto targets = targets_of(sampler.batch(0));
  std::sort(targets.begin(), targets.end());
  CHECK(targets == std::vector<std::int64_t>{0, 3});
  const auto hard = hard_of(sampler.batch(0));
  CHECK(std::count(hard.at(0).begin(), hard.at(0).end(), 2) == 1);
}

TEST_CASE("a target counts as short by its rank window, not by its whole pool") {
  const auto pairs = table({{1, 2, 3}, {0, 2}, {0}, {}}, 3);
  CHECK(BatchSampler(pairs, {}).eligible_targets() == 3);
  CHECK(BatchSampler(pairs, {.rank_min = 1}).eligible_targets() == 2);
  CHECK(BatchSampler(pairs, {.rank_min = 2}).eligible_targets() == 1);
  CHECK(BatchSampler(pairs, {.rank_min = 1, .rank_max = 2}).eligible_targets() == 2);
}

TEST_CASE("short policy random keeps every target and fills with rows not in the batch") {
  std::vector<std::vector<std::int64_t>> pools(40);
  pools[0] = {1, 2};
  const auto pairs = table(pools, 2);
  BatchSampler sampler(
      pairs, {.batch_size = 12, .hard_per_target = 2, .short_policy = ShortPolicy::random});
  CHECK(sampler.eligible_targets() == 40);
  CHECK(sampler.skipped_targets() == 0);
  for (const BatchRows& batch : epoch_of(sampler)) {
    CHECK(batch.index.size() == 12);
    CHECK(std::set<std::int64_t>(batch.index.begin(), batch.index.end()).size() == 12);
  }
  const auto& counted = sampler.statistics();
  CHECK(counted.hard_pairs + counted.random_fills == 80);
  CHECK(counted.random_fills >= 78);
  CHECK(counted.unfilled == 0);
}

TEST_CASE("random fills stop when the batch holds the whole data set") {
  const auto pairs = table(std::vector<std::vector<std::int64_t>>(5), 4);
  BatchSampler sampler(
      pairs, {.batch_size = 20, .hard_per_target = 3, .short_policy = ShortPolicy::random});
  CHECK(sampler.batch(0).index.size() == 5);
  CHECK(sampler.statistics().unfilled == 15);
}

TEST_CASE("short policy error gives the number of short targets and the first") {
  const auto pairs = table({{1}, {}, {0}, {}}, 1);
  CHECK_THROWS_WITH(BatchSampler(pairs, {.short_policy = ShortPolicy::error}),
                    ContainsSubstring("2 of 4 targets") && ContainsSubstring("row 1"));
  CHECK_NOTHROW(BatchSampler(ring(8, 2), {.short_policy = ShortPolicy::error}));
}

TEST_CASE("a fraction of the targets gets hard pairs, and the order of targets stays the same") {
  const auto pairs = disjoint(4000, 2);
  BatchSampler whole(pairs, {.batch_size = 100});
  BatchSampler part(pairs, {.batch_size = 100, .fraction = 0.25});
  BatchSampler none(pairs, {.batch_size = 100, .fraction = 0.0});
  REQUIRE(whole.batches_per_epoch() == 80);
  for (std::int64_t step = 0; step < 80; ++step) {
    const auto targets = targets_of(whole.batch(step));
    CHECK(targets_of(part.batch(step)) == targets);
    CHECK(none.batch(step).index == targets);
  }
  CHECK(whole.statistics().hard_pairs == 4000);
  CHECK(std::abs(static_cast<double>(part.statistics().hard_pairs) - 1000.0) < 110.0);
  CHECK(part.statistics().unfilled == 0);
  CHECK(none.statistics().hard_pairs == 0);
}

TEST_CASE("without hard pairs every row is a target, whatever the pools") {
  const auto pairs = table(std::vector<std::vector<std::int64_t>>(10), 1);
  BatchSampler sampler(pairs, {.batch_size = 4, .hard_per_target = 0, .rank_max = 99});
  CHECK(sampler.eligible_targets() == 10);
  CHECK(sampler.batches_per_epoch() == 3);
  std::vector<std::int64_t> seen;
  for (const BatchRows& batch : epoch_of(sampler)) {
    seen.insert(seen.end(), batch.index.begin(), batch.index.end());
    CHECK(targets_of(batch) == batch.index);
  }
  std::sort(seen.begin(), seen.end());
  CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
  CHECK(seen.size() == 10);
}

TEST_CASE("the order of an epoch is uniform: each row is as likely at each place") {
  constexpr int kEpochs = 3000;
  std::vector<std::vector<int>> at(5, std::vector<int>(5, 0));
  BatchSampler sampler(ring(5, 1), {.batch_size = 5, .hard_per_target = 0});
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    sampler.set_epoch(epoch);
    const BatchRows batch = sampler.batch(0);
    for (std::size_t place = 0; place < 5; ++place) {
      ++at[place][static_cast<std::size_t>(batch.index[place])];
    }
  }
  for (const auto& row : at) {
    for (const int times : row) CHECK(std::abs(times - kEpochs / 5) < 100);  // 4.5 deviations
  }
}

TEST_CASE("batches are frozen: a change of them is a change of every seeded run") {
  BatchSampler uniform(ring(997, 7), {.batch_size = 64, .hard_per_target = 3, .seed = 42});
  BatchSampler weighted(ring(997, 7),
                        {.batch_size = 64, .seed = 42, .draw_temperature = 0.07, .fraction = 0.5});
  weighted.set_epoch(3);
  CHECK(digest(epoch_of(uniform)) == 0xe34efacc17db3421ULL);
  CHECK(digest(epoch_of(weighted)) == 0xa8dc6010d407770fULL);
}

TEST_CASE("options outside their bounds are refused with the value and the mend") {
  refuses({.batch_size = 0, .hard_per_target = 0}, "batch_size = 0");
  refuses({.hard_per_target = -1}, "hard_per_target = -1");
  refuses({.batch_size = 3, .hard_per_target = 3}, "raise batch_size");
  refuses({.world_size = 0}, "world_size = 0");
  refuses({.rank = 2, .world_size = 2}, "rank = 2");
  refuses({.rank = -1}, "rank = -1");
  refuses({.rank_min = -1}, "rank_min = -1");
  refuses({.rank_min = 4}, "rank_min = 4");
  refuses({.rank_min = 2, .rank_max = 2}, "rank_min = 2");
  refuses({.rank_max = 5}, "k = 4");
  refuses({.hard_per_target = 3, .rank_min = 2}, "window [2, 4)");
  refuses({.draw_temperature = -0.5}, "temperature = -0.5");
  refuses({.draw_temperature = std::nan("")}, "temperature");
  refuses({.fraction = 1.5}, "fraction = 1.5");
  refuses({.fraction = std::nan("")}, "fraction");
  refuses({.world_size = 21}, "20 eligible targets");
  refuses({.batch_size = 2, .world_size = 3}, "raise batch_size to 4");
  BatchSampler sampler(ring(20, 4), {});
  CHECK_THROWS_WITH(sampler.batch(1), ContainsSubstring("step = 1"));
  CHECK_THROWS_WITH(sampler.batch(-1), ContainsSubstring("step = -1"));
  CHECK_THROWS_WITH(sampler.set_epoch(-1), ContainsSubstring("epoch = -1"));
}

TEST_CASE("short policies have names") {
  for (const auto policy :
       {ShortPolicy::skip, ShortPolicy::random, ShortPolicy::error, ShortPolicy::keep}) {
    CHECK(helip::short_policy_from_name(helip::name_of(policy)) == policy);
  }
  CHECK_THROWS_WITH(helip::short_policy_from_name("drop"), ContainsSubstring("'drop'"));
}

TEST_CASE("strategies, orders and shapes have names") {
  for (const auto strategy : {helip::BatchStrategy::automatic, helip::BatchStrategy::uniform,
                              helip::BatchStrategy::temperature, helip::BatchStrategy::scheduled,
                              helip::BatchStrategy::shared, helip::BatchStrategy::walk}) {
    CHECK(helip::batch_strategy_from_name(helip::name_of(strategy)) == strategy);
  }
  CHECK(helip::target_order_from_name("blocks") == helip::TargetOrder::blocks);
  CHECK(helip::schedule_shape_from_name("cosine") == helip::ScheduleShape::cosine);
  CHECK_THROWS_WITH(helip::batch_strategy_from_name("hard"),
                    ContainsSubstring("'hard'") && ContainsSubstring("walk"));
}

TEST_CASE("the strategy is chosen by the options, and options of another one are refused") {
  const auto chosen = [](const BatchOptions& options) {
    return BatchSampler(ring(20, 4), options).options().strategy;
  };
  CHECK(chosen({}) == helip::BatchStrategy::uniform);
  CHECK(chosen({.draw_temperature = 0.1}) == helip::BatchStrategy::temperature);
  CHECK(chosen({.schedule = {.epochs = 1.0, .rank_max = 2}}) == helip::BatchStrategy::scheduled);
  using enum helip::BatchStrategy;
  refuses({.draw_temperature = 0.1, .strategy = uniform}, "strategy \"uniform\"");
  refuses({.strategy = temperature}, "above 0");
  refuses({.strategy = scheduled}, "needs a schedule");
  refuses({.strategy = uniform, .schedule = {.epochs = 1.0, .rank_max = 2}}, "no schedule");
  refuses({.schedule = {.rank_max = 2}}, "epochs = 0");
  refuses({.targets_per_batch = 4}, "\"shared\", \"walk\" and \"communities\"");
  refuses({.order = helip::TargetOrder::blocks, .block = 0}, "block = 0");
}

TEST_CASE("what is left of an epoch goes to other ranks, each target once") {
  for (const std::int64_t rows : {40, 97, 500}) {
    BatchSampler whole(ring(rows, 3), {.batch_size = 8, .world_size = 2});
    const std::int64_t step = whole.batches_per_epoch() / 3;
    const std::int64_t gone = whole.targets_before(step);
    std::vector<std::int64_t> seen;
    for (std::int64_t rank = 0; rank < 2; ++rank) {
      BatchSampler part(ring(rows, 3), {.batch_size = 8, .rank = rank, .world_size = 2});
      for (std::int64_t i = 0; i < step; ++i) {
        for (const std::int64_t row : targets_of(part.batch(i))) seen.push_back(row);
      }
    }
    CHECK(static_cast<std::int64_t>(seen.size()) == gone);
    for (std::int64_t rank = 0; rank < 5; ++rank) {
      BatchSampler rest(ring(rows, 3), {.batch_size = 6, .rank = rank, .world_size = 5});
      rest.set_epoch(0, gone);
      const std::int64_t steps = rest.batches_after(gone);
      CHECK(rest.targets_before(steps, gone) == rows);
      for (std::int64_t i = 0; i < steps; ++i) {
        const auto targets = targets_of(rest.batch(i));
        CHECK(!targets.empty());
        CHECK(targets.size() <= 3);
        seen.insert(seen.end(), targets.begin(), targets.end());
      }
      CHECK_THROWS_WITH(rest.batch(steps), ContainsSubstring("number of batches"));
    }
    std::sort(seen.begin(), seen.end());
    std::vector<std::int64_t> all(static_cast<std::size_t>(rows));
    std::iota(all.begin(), all.end(), 0);
    CHECK(seen == all);
  }
}

TEST_CASE("too few targets for every rank are refused, with the mend") {
  BatchSampler sampler(ring(20, 3), {.batch_size = 8, .world_size = 4});
  CHECK_NOTHROW(sampler.set_epoch(1, 16));
  CHECK_THROWS_WITH(
      sampler.set_epoch(1, 17),
      ContainsSubstring("3 targets of the epoch are left") && ContainsSubstring("fewer ranks"));
  CHECK_THROWS_WITH(sampler.set_epoch(1, 20), ContainsSubstring("consumed = 20"));
  CHECK_THROWS_WITH(sampler.set_epoch(1, -1), ContainsSubstring("consumed = -1"));
  CHECK_THROWS_WITH(sampler.targets_before(6), ContainsSubstring("step = 6"));
  BatchSampler single(ring(20, 3), {.batch_size = 2, .world_size = 2});
  CHECK_NOTHROW(single.set_epoch(0, 2));
  CHECK_THROWS_WITH(single.set_epoch(0, 3), ContainsSubstring("without one"));
}

TEST_CASE("batches draw what a growing table knows when they are made") {
  const auto pairs = std::make_shared<helip::GrowingPairs>(8, 2);
  BatchSampler sampler(pairs, {.batch_size = 4, .hard_per_target = 1});
  CHECK(sampler.eligible_targets() == 8);
  CHECK(sampler.batch(0).index.size() == 2);  // targets alone
  CHECK(sampler.statistics().plain_targets == 2);
  // Row t's only pair is t + 4, and the other way round.
  pairs->offer({0, 1, 2, 3}, {0, 1, {4, 5, 6, 7}, {0.9F, 0.8F, 0.7F, 0.6F}, {1, 1, 1, 1}});
  sampler.reset_statistics();
  std::int64_t hard = 0;
  for (std::int64_t step = 0; step < sampler.batches_per_epoch(); ++step) {
    const BatchRows batch = sampler.batch(step);
    for (std::size_t row = 0; row < batch.index.size(); ++row) {
      const auto target = static_cast<std::size_t>(batch.target[row]);
      if (target == row) continue;
      CHECK(batch.index[row] == (batch.index[target] + 4) % 8);
      ++hard;
    }
  }
  CHECK(hard > 0);
  CHECK(sampler.statistics().plain_targets == 0);
  CHECK(sampler.statistics().hard_pairs == hard);
  CHECK(sampler.statistics().hard_pairs + sampler.statistics().unfilled == 8);
  try {
    BatchSampler strict(pairs, {.batch_size = 4, .short_policy = ShortPolicy::error});
    FAIL("accepted a policy that a growing table cannot keep");
  } catch (const helip::Error& error) {
    CHECK(error.code() == helip::ErrorCode::invalid_argument);
  }
}
