#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "helip/batch_sampler.h"
#include "support/batch_samples.h"

namespace helip {
namespace {

using test::digest;
using test::epoch_of;
using test::groups_of_rows;
using test::next_targets;
using test::ring;
using test::table;

// (target, hard pair) of the table, both in the batch, for all batches of an epoch
std::int64_t pairs_inside(const HardPairs& pairs, BatchSampler& sampler) {
  std::int64_t inside = 0;
  for (const BatchRows& batch : epoch_of(sampler)) {
    const std::set<std::int64_t> rows(batch.index.begin(), batch.index.end());
    for (const std::int64_t row : rows) {
      for (std::int64_t rank = 0; rank < pairs.count(row); ++rank) {
        inside += rows.contains(pairs.id(row, rank)) ? 1 : 0;
      }
    }
  }
  return inside;
}

std::vector<std::int64_t> order_of(BatchSampler& sampler) {
  std::vector<std::int64_t> order;
  for (std::int64_t step = 0; step < sampler.batches_per_epoch(); ++step) {
    const auto targets = next_targets(sampler, step);
    order.insert(order.end(), targets.begin(), targets.end());
  }
  return order;
}

BatchOptions walk(BatchOptions options) {
  options.strategy = BatchStrategy::walk;
  return options;
}

}  // namespace

TEST_CASE("every row is a target once, on all ranks together", "[strategy_walk]") {
  for (const std::int64_t world : {1, 3}) {
    std::vector<std::int64_t> seen;
    for (std::int64_t rank = 0; rank < world; ++rank) {
      BatchSampler sampler(ring(500, 6),
                           walk({.batch_size = 32, .rank = rank, .world_size = world}));
      for (const std::int64_t row : order_of(sampler)) seen.push_back(row);
    }
    std::sort(seen.begin(), seen.end());
    REQUIRE(seen.size() == 500);
    CHECK(seen.front() == 0);
    CHECK(seen.back() == 499);
    CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
  }
}

TEST_CASE("a walk stays in its part of the graph until all of it is collected", "[strategy_walk]") {
  // 20 groups of 16 rows, scattered over the data set; walks of 16 rows.
  BatchSampler sampler(groups_of_rows(20, 16), walk({.batch_size = 16, .walk_rows = 16}));
  std::int64_t whole = 0;
  const auto order = order_of(sampler);
  for (std::size_t first = 0; first < order.size(); first += 16) {
    std::set<std::int64_t> groups;
    for (std::size_t i = 0; i < 16; ++i) groups.insert(order[first + i] % 20);
    whole += groups.size() == 1 ? 1 : 0;
  }
  CHECK(whole >= 17);  // a walk that loses patience shifts those after it
}

TEST_CASE("batches of walks hold far more hard pairs than others", "[strategy_walk]") {
  const auto pairs = ring(2000, 10);
  BatchSampler walking(pairs, walk({.batch_size = 64, .walk_rows = 64}));
  BatchSampler uniform(pairs, {.batch_size = 64});
  BatchSampler plain(pairs, {.batch_size = 64, .hard_per_target = 0});
  const std::int64_t inside = pairs_inside(pairs, walking);
  CHECK(inside > 2 * pairs_inside(pairs, uniform));  // which has twice as many rows
  CHECK(inside > 10 * pairs_inside(pairs, plain));
}

TEST_CASE("target names a hard pair's target, and rows that are left over serve themselves",
          "[strategy_walk]") {
  const auto pairs = ring(300, 8);
  BatchSampler sampler(pairs, walk({.batch_size = 30, .hard_per_target = 2, .walk_rows = 30}));
  std::int64_t serving = 0;
  for (const BatchRows& batch : epoch_of(sampler)) {
    CHECK(batch.index.size() <= 30);
    for (std::size_t place = 0; place < batch.index.size(); ++place) {
      const auto served = static_cast<std::size_t>(batch.target[place]);
      if (served == place) continue;
      ++serving;
      const std::int64_t ahead = (batch.index[place] - batch.index[served] + 300) % 300;
      CHECK(ahead >= 1);
      CHECK(ahead <= 8);
    }
  }
  const BatchStatistics& counted = sampler.statistics();
  CHECK(counted.targets == 300);
  CHECK(counted.hard_pairs == 0);
  CHECK(counted.shared + counted.unfilled == 600);
  CHECK(serving > 250);
}

TEST_CASE("with room for them, hard pairs come in where the walk has none", "[strategy_walk]") {
  BatchSampler sampler(ring(300, 8), walk({.batch_size = 30, .targets_per_batch = 20}));
  CHECK(sampler.batches_per_epoch() == 15);
  epoch_of(sampler);
  CHECK(sampler.statistics().hard_pairs > 0);
  CHECK(sampler.statistics().shared > sampler.statistics().hard_pairs);
}

TEST_CASE("the order does not depend on batches and ranks", "[strategy_walk]") {
  BatchSampler small(ring(400, 6), walk({.batch_size = 16, .seed = 3}));
  BatchSampler large(ring(400, 6), walk({.batch_size = 128, .seed = 3}));
  CHECK(order_of(small) == order_of(large));
  BatchSampler other(ring(400, 6), walk({.batch_size = 16, .seed = 4}));
  CHECK(order_of(small) != order_of(other));
  const auto first = order_of(small);
  small.set_epoch(1);
  CHECK(order_of(small) != first);
}

TEST_CASE("a low restart goes far, a high one stays close", "[strategy_walk]") {
  // How far ahead on the ring the 100 first walks of 6 rows come, on average.
  const auto reach = [](double restart) {
    BatchSampler sampler(ring(20000, 4),
                         walk({.batch_size = 600, .walk_rows = 6, .restart = restart}));
    const auto rows = next_targets(sampler, 0);
    std::int64_t ahead = 0;
    for (std::size_t first = 0; first + 6 <= rows.size(); first += 6) {
      std::int64_t farthest = 0;
      for (std::size_t i = 1; i < 6; ++i) {
        farthest = std::max(farthest, (rows[first + i] - rows[first] + 20000) % 20000);
      }
      ahead += farthest;
    }
    return ahead;
  };
  CHECK(reach(0.0) > reach(0.5) * 5 / 4);
}

TEST_CASE("outliers are walks of one row, or no targets", "[strategy_walk]") {
  std::vector<std::vector<std::int64_t>> pools(40);
  for (std::int64_t row = 0; row < 20; ++row) {
    pools[static_cast<std::size_t>(row)] = {(row + 1) % 20, (row + 2) % 20};
  }
  const auto pairs = table(pools, 2);
  BatchSampler skipping(pairs, walk({.batch_size = 8}));
  CHECK(skipping.eligible_targets() == 20);
  CHECK(skipping.skipped_targets() == 20);
  BatchSampler filling(pairs, walk({.batch_size = 8, .short_policy = ShortPolicy::random}));
  CHECK(order_of(filling).size() == 40);
}

TEST_CASE("walks are frozen", "[strategy_walk]") {
  BatchSampler sampler(ring(997, 7), walk({.batch_size = 64, .hard_per_target = 2, .seed = 42}));
  CHECK(digest(epoch_of(sampler)) == 0xc4c9c7c638b101d1ULL);
}

TEST_CASE("walk options outside their bounds are refused", "[strategy_walk]") {
  const auto refuses = [](const BatchOptions& options, const char* part) {
    test::refuses(ring(20, 4), walk(options), part);
  };
  refuses({.hard_per_target = 0}, "hard_per_target of at least 1");
  refuses({.draw_temperature = 0.1}, "temperature = 0.1");
  refuses({.order = TargetOrder::blocks}, "\"blocks\"");
  refuses({.walk_rows = 0}, "walk_rows = 0");
  refuses({.restart = 1.0}, "restart = 1");
  refuses({.restart = -0.1}, "restart = -0.1");
  refuses({.schedule = {.epochs = 1.0, .rank_max = 2}}, "\"scheduled\"");
  try {
    BatchSampler sampler(std::make_shared<GrowingPairs>(8, 2), walk({.batch_size = 4}));
    FAIL("accepted a table whose walks cannot be repeated");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_argument);
  }
}

}  // namespace helip
