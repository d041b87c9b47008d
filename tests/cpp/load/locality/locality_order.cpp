#include "helip/locality_order.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "helip/error.h"
#include "support/expect_error.h"

namespace {

using helip::ErrorCode;
using helip::HardPairs;
using helip::locality_order;
using helip::LocalityOptions;
using Pools = std::vector<std::vector<std::int64_t>>;

HardPairs table(const Pools& pools, std::int64_t k) {
  const auto rows = static_cast<std::int64_t>(pools.size());
  std::vector<std::int64_t> ids(static_cast<std::size_t>(rows * k), -1);
  std::vector<float> scores(ids.size(), 0.0F);
  std::vector<std::int32_t> counts;
  for (std::size_t row = 0; row < pools.size(); ++row) {
    counts.push_back(static_cast<std::int32_t>(pools[row].size()));
    for (std::size_t rank = 0; rank < pools[row].size(); ++rank) {
      ids[row * static_cast<std::size_t>(k) + rank] = pools[row][rank];
      scores[row * static_cast<std::size_t>(k) + rank] = 0.5F;
    }
  }
  return HardPairs::from_arrays({ids.data(), rows, k, helip::DType::int64, k * 8, nullptr},
                                {scores.data(), rows, k, helip::DType::float32, k * 4, nullptr},
                                {counts.data(), rows, 1, helip::DType::int32, 4, nullptr}, {});
}

// Rows in clusters of `size`, numbered at random; pools are `k` rows of the own cluster, but for
// one in ten, which is any row.
Pools clusters(std::int64_t rows, std::int64_t size, std::int64_t k) {
  std::mt19937 random(7);
  std::vector<std::int64_t> row_at(static_cast<std::size_t>(rows));
  std::iota(row_at.begin(), row_at.end(), 0);
  std::shuffle(row_at.begin(), row_at.end(), random);
  const auto below = [&](std::int64_t bound) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(bound));
  };
  Pools pools(row_at.size());
  for (std::int64_t place = 0; place < rows; ++place) {
    const std::int64_t first = place / size * size;
    std::set<std::int64_t> pool;
    while (static_cast<std::int64_t>(pool.size()) < k) {
      const std::int64_t other =
          below(10) == 0 ? below(rows) : first + below(std::min(size, rows - first));
      if (other != place) pool.insert(row_at[static_cast<std::size_t>(other)]);
    }
    pools[static_cast<std::size_t>(row_at[static_cast<std::size_t>(place)])] = {pool.begin(),
                                                                                pool.end()};
  }
  return pools;
}

double share_inside(const Pools& pools, const std::vector<std::int64_t>& order,
                    std::int64_t block) {
  std::vector<std::int64_t> place(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    place[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
  }
  double inside = 0;
  double all = 0;
  for (std::size_t row = 0; row < pools.size(); ++row) {
    for (const std::int64_t other : pools[row]) {
      inside += place[row] / block == place[static_cast<std::size_t>(other)] / block ? 1 : 0;
      ++all;
    }
  }
  return inside / all;
}

bool is_permutation_of_rows(std::vector<std::int64_t> order, std::size_t rows) {
  std::sort(order.begin(), order.end());
  std::vector<std::int64_t> expected(rows);
  std::iota(expected.begin(), expected.end(), 0);
  return order == expected;
}

}  // namespace

TEST_CASE("locality_order: clusters of hard pairs come to lie in one block") {
  for (const std::int64_t size : {16, 32, 64}) {
    const Pools pools = clusters(2000, size, 8);
    const std::vector<std::int64_t> order = locality_order(table(pools, 8));
    REQUIRE(is_permutation_of_rows(order, pools.size()));
    // Nine in ten pairs are of the own cluster; those of a cluster that a border cuts are lost.
    CHECK(share_inside(pools, order, 64) > 0.8);
    CHECK(share_inside(pools, order, 1024) > 0.85);
  }
}

TEST_CASE("locality_order: clusters larger than a block stay together in larger ones") {
  const Pools pools = clusters(2048, 256, 8);
  const std::vector<std::int64_t> order = locality_order(table(pools, 8));
  CHECK(share_inside(pools, order, 256) > 0.8);
}

TEST_CASE("locality_order: every row is there once, whatever the table") {
  for (const std::size_t rows : {1, 2, 63, 64, 65, 129, 1000}) {
    const Pools none(rows);
    const auto order = locality_order(table(none, 3));
    CHECK(is_permutation_of_rows(order, rows));
    Pools hub(rows);  // all name row 0, which names nobody
    for (std::size_t row = 1; row < rows; ++row) hub[row].push_back(0);
    CHECK(is_permutation_of_rows(locality_order(table(hub, 3)), rows));
  }
  CHECK(locality_order(table({}, 3)).empty());
}

TEST_CASE("locality_order: it depends on the table and the options alone") {
  const Pools pools = clusters(500, 20, 6);
  const HardPairs pairs = table(pools, 6);
  LocalityOptions options;
  options.seed = 3;
  const auto order = locality_order(pairs, options);
  CHECK(order == locality_order(pairs, options));
  options.seed = 4;
  CHECK(order != locality_order(pairs, options));
}

TEST_CASE("locality_order: ranks beyond rank_max do not count") {
  Pools near = clusters(640, 32, 4);
  Pools both = near;
  std::mt19937 random(1);
  for (std::size_t row = 0; row < both.size(); ++row) {
    while (both[row].size() < 12) {
      const auto other = static_cast<std::int64_t>(random() % both.size());
      if (other != static_cast<std::int64_t>(row)) both[row].push_back(other);
    }
  }
  LocalityOptions options;
  options.rank_max = 4;
  CHECK(locality_order(table(both, 12), options) == locality_order(table(near, 4)));
}

TEST_CASE("locality_order: options are held to their bounds") {
  const HardPairs pairs = table(clusters(100, 10, 4), 4);
  LocalityOptions options;
  options.block = 1;
  expect_error(ErrorCode::invalid_argument, "at least 2",
               [&] { (void)locality_order(pairs, options); });
  options = {};
  options.rank_max = 5;
  expect_error(ErrorCode::invalid_argument, "0 .. k = 4",
               [&] { (void)locality_order(pairs, options); });
}

TEST_CASE("locality_order: it reports its stages and can be stopped") {
  const HardPairs pairs = table(clusters(1000, 10, 4), 4);
  std::set<std::string> stages;
  (void)locality_order(pairs, {}, [&](const helip::Progress& state) {
    CHECK(state.done <= state.total);
    stages.insert(state.stage);
    return true;
  });
  CHECK(stages == std::set<std::string>{"walk", "trade"});
  expect_error(ErrorCode::cancelled, "not finished", [&] {
    (void)locality_order(pairs, {}, [](const helip::Progress&) { return false; });
  });
}
