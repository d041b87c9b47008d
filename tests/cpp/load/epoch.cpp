#include "load/epoch.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <vector>

namespace helip::load {
namespace {

std::vector<std::int64_t> rising(std::int64_t rows) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(rows));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

TEST_CASE("blocks keep every row, and four of them at a time lie together", "[target_order]") {
  for (const std::int64_t rows : {1, 7, 100, 1000}) {
    for (const std::int64_t block : {1, 3, 8, 2000}) {
      auto order = rising(rows);
      shuffle_blocks(order, block, {1});
      auto sorted = order;
      std::sort(sorted.begin(), sorted.end());
      CHECK(sorted == rising(rows));
      // A block is never met again once the rows of four blocks have come.
      std::set<std::int64_t> open, closed;
      const std::int64_t blocks = (rows + block - 1) / block;
      std::size_t at = 0;
      for (std::int64_t first = 0; first < blocks; first += 4) {
        open.clear();
        std::int64_t left = 0;
        // Rows of this group: read until as many blocks are open and whole.
        const auto whole = [&] {
          return left == 0 && static_cast<std::int64_t>(open.size()) ==
                                  std::min<std::int64_t>(4, blocks - first);
        };
        while (!whole()) {
          const std::int64_t number = order[at++] / block;
          REQUIRE(!closed.contains(number));
          if (open.insert(number).second) left += std::min(block, rows - number * block);
          --left;
        }
        closed.insert(open.begin(), open.end());
      }
      CHECK(at == order.size());
    }
  }
}

TEST_CASE("rows of a block are mixed with those of three others", "[target_order]") {
  auto order = rising(4000);
  shuffle_blocks(order, 100, {5});
  for (std::size_t group = 0; group < order.size(); group += 400) {
    std::set<std::int64_t> early;
    for (std::size_t i = 0; i < 100; ++i) early.insert(order[group + i] / 100);
    CHECK(early.size() == 4);
  }
}

TEST_CASE("each block is as likely at each place", "[target_order]") {
  constexpr int kTimes = 3000;
  std::vector<std::vector<int>> at(2, std::vector<int>(8, 0));  // first or second group
  for (std::uint64_t seed = 0; seed < kTimes; ++seed) {
    auto order = rising(24);
    shuffle_blocks(order, 3, {seed});
    std::set<std::int64_t> first;
    for (std::size_t i = 0; i < 12; ++i) first.insert(order[i] / 3);
    REQUIRE(first.size() == 4);
    for (const std::int64_t block : first) ++at[0][static_cast<std::size_t>(block)];
  }
  for (const int times : at[0]) CHECK(std::abs(times - kTimes / 2) < 4.5 * std::sqrt(kTimes / 4.0));
}

TEST_CASE("rows that are no targets leave holes in their block alone", "[target_order]") {
  std::vector<std::int64_t> targets;
  for (std::int64_t row = 0; row < 200; ++row) {
    if (row % 3 != 0 && row / 10 != 4) targets.push_back(row);
  }
  auto order = targets;
  shuffle_blocks(order, 10, {2});
  CHECK(order != targets);
  std::sort(order.begin(), order.end());
  CHECK(order == targets);
}

TEST_CASE("batches follow each other without a gap and differ by one target at most",
          "[target_spread]") {
  for (std::int64_t targets = 1; targets <= 60; ++targets) {
    for (std::int64_t world = 1; world <= 5; ++world) {
      for (std::int64_t per_batch = 1; per_batch <= 9; ++per_batch) {
        const TargetSpread spread(targets, world, per_batch);
        CHECK(spread.steps == (targets + world * per_batch - 1) / (world * per_batch));
        const std::int64_t batches = spread.steps * world;
        CHECK(spread.begin_of(0) == 0);
        CHECK(spread.begin_of(batches) == targets);
        std::int64_t smallest = targets;
        std::int64_t largest = 0;
        for (std::int64_t number = 0; number < batches; ++number) {
          const std::int64_t size = spread.begin_of(number + 1) - spread.begin_of(number);
          smallest = std::min(smallest, size);
          largest = std::max(largest, size);
        }
        CHECK(largest - smallest <= 1);
        CHECK(largest <= per_batch);
        CHECK(spread.serves_every_rank() == (smallest >= 1));
      }
    }
  }
}

TEST_CASE("a spread of very many targets does not overflow", "[target_spread]") {
  const std::int64_t targets = 3'000'000'007;
  const TargetSpread spread(targets, 1000, 2);
  CHECK(spread.begin_of(spread.steps * 1000) == targets);
  CHECK(spread.begin_of(spread.steps * 1000 - 1) < targets);
}

}  // namespace helip::load
