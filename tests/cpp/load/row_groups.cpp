#include "helip/row_groups.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <set>
#include <vector>

#include "helip/batch_sampler.h"
#include "support/batch_samples.h"
#include "support/expect_error.h"

namespace helip {

using test::digest;
using test::epoch_of;
using test::groups_of_rows;
using test::ring;
using test::table;

namespace {

// Row i has the group i % number, and rows from `alone` on have none.
RowGroups every(std::int64_t rows, std::int64_t number, std::int64_t alone) {
  RowGroups groups;
  groups.offsets.push_back(0);
  for (std::int64_t row = 0; row < rows; ++row) {
    if (row < alone) groups.groups.push_back(row % number);
    groups.offsets.push_back(static_cast<std::int64_t>(groups.groups.size()));
  }
  return groups;
}

// Rows of a batch that are equal to one before them, by a double loop.
std::int64_t equal_rows(const BatchRows& batch, const RowGroups& groups) {
  std::int64_t found = 0;
  for (std::size_t later = 0; later < batch.index.size(); ++later) {
    for (std::size_t before = 0; before < later; ++before) {
      const auto a = groups.of(batch.index[before]);
      const auto b = groups.of(batch.index[later]);
      found += std::any_of(a.begin(), a.end(), [&](std::int64_t group) {
        return std::find(b.begin(), b.end(), group) != b.end();
      });
    }
  }
  return found;
}

}  // namespace

TEST_CASE("no batch of any strategy holds two equal rows, and every row is a target or counted",
          "[row_groups]") {
  constexpr std::int64_t kRows = 120;
  const RowGroups groups = every(kRows, 30, 60);
  std::int64_t without = 0;
  for (const BatchOptions& options : {
           BatchOptions{.batch_size = 24, .hard_per_target = 0},
           BatchOptions{.batch_size = 24, .hard_per_target = 2},
           BatchOptions{.batch_size = 24, .short_policy = ShortPolicy::random},
           BatchOptions{.batch_size = 24, .draw_temperature = 0.1},
           BatchOptions{.batch_size = 24, .schedule = {.epochs = 1.0, .rank_max = 5}},
           BatchOptions{.batch_size = 24, .strategy = BatchStrategy::shared},
           BatchOptions{.batch_size = 24, .strategy = BatchStrategy::walk},
           BatchOptions{.batch_size = 24, .strategy = BatchStrategy::walk, .targets_per_batch = 16},
           BatchOptions{.batch_size = 24, .order = TargetOrder::blocks, .block = 8},
       }) {
    for (const std::int64_t world : {1, 3}) {
      std::vector<std::int64_t> targets;
      std::int64_t left_out = 0;
      for (std::int64_t rank = 0; rank < world; ++rank) {
        BatchOptions own = options;
        own.rank = rank;
        own.world_size = world;
        BatchSampler sampler(ring(kRows, 40), own, groups);
        for (std::int64_t step = 0; step < sampler.batches_per_epoch(); ++step) {
          sampler.reset_statistics();
          const BatchRows batch = sampler.batch(step);
          CHECK(equal_rows(batch, groups) == 0);
          CHECK(batch.index.size() <= 24);
          CHECK(sampler.statistics().targets >= 1);
          left_out += sampler.statistics().equal_targets;
          targets.insert(targets.end(), batch.index.begin(),
                         batch.index.begin() + sampler.statistics().targets);
          const BatchStatistics& told = sampler.statistics();
          CHECK(told.targets + told.hard_pairs + told.random_fills ==
                static_cast<std::int64_t>(batch.index.size()));
        }
        BatchSampler plain(ring(kRows, 40), own);
        for (const BatchRows& batch : epoch_of(plain)) without += equal_rows(batch, groups);
      }
      CHECK(std::set<std::int64_t>(targets.begin(), targets.end()).size() == targets.size());
      CHECK(static_cast<std::int64_t>(targets.size()) + left_out == kRows);
    }
  }
  CHECK(without > 100);  // the groups matter to these batches
}

TEST_CASE("an equal hard pair is passed over for the next one", "[row_groups]") {
  // Row 1 says what row 0 says; row 2 does not.
  const auto pairs = table({{1, 2}, {}, {}}, 2);
  const RowGroups groups{{0, 1, 2, 3}, {7, 7, 8}};
  bool passed = false;
  for (const BatchStrategy strategy : {BatchStrategy::uniform, BatchStrategy::shared}) {
    for (std::uint64_t seed = 0; seed < 8; ++seed) {
      BatchSampler sampler(pairs, {.batch_size = 2, .seed = seed, .strategy = strategy}, groups);
      CHECK(sampler.batch(0).index == std::vector<std::int64_t>{0, 2});
      passed = passed || sampler.statistics().equal_hard_pairs == 1;
      CHECK(sampler.statistics().unfilled == 0);
    }
  }
  CHECK(passed);
}

TEST_CASE("a row with several groups is equal to the rows of each", "[row_groups]") {
  const RowGroups groups{{0, 1, 3, 4}, {1, 1, 2, 2}};  // 0 = 1 and 1 = 2, but 0 and 2 differ
  BatchSampler sampler(ring(3, 1), {.batch_size = 3, .hard_per_target = 0}, groups);
  std::set<std::vector<std::int64_t>> met;
  for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
    sampler.set_epoch(epoch);
    auto rows = sampler.batch(0).index;
    std::sort(rows.begin(), rows.end());
    met.insert(rows);
  }
  CHECK(met == std::set<std::vector<std::int64_t>>{{0, 2}, {1}});
}

TEST_CASE("a random fill is none that equals a row of the batch", "[row_groups]") {
  const auto pairs = table({{}, {}, {}, {}}, 1);
  const RowGroups all_equal{{0, 1, 2, 3, 4}, {5, 5, 5, 5}};
  BatchOptions options{.batch_size = 4, .short_policy = ShortPolicy::random};
  BatchSampler sampler(pairs, options, all_equal);
  const BatchRows batch = sampler.batch(0);
  CHECK(batch.index.size() == 1);
  CHECK(sampler.statistics().equal_targets == 1);
  CHECK(sampler.statistics().unfilled == 1);
}

TEST_CASE("batches go on after a resume and do not depend on what was asked before",
          "[row_groups]") {
  const RowGroups groups = every(120, 12, 120);
  const BatchOptions options{.batch_size = 16, .seed = 3};
  BatchSampler whole(ring(120, 8), options, groups);
  const auto batches = epoch_of(whole);
  BatchSampler later(ring(120, 8), options, groups);
  CHECK(digest({later.batch(5), later.batch(2)}) == digest({batches[5], batches[2]}));
  // What is left after some targets goes on with the next ones, in batches of another size.
  BatchOptions other = options;
  other.batch_size = 10;
  BatchSampler rest(ring(120, 8), other, groups);
  const std::int64_t gone = whole.targets_before(4);
  rest.set_epoch(0, gone);
  std::int64_t left = 0;
  for (std::int64_t step = 0; step < rest.batches_after(gone); ++step) (void)rest.batch(step);
  left = rest.statistics().targets + rest.statistics().equal_targets;
  CHECK(gone + left == 120);
}

TEST_CASE("groups of other rows are refused", "[row_groups]") {
  const auto make = [](RowGroups groups) {
    BatchSampler sampler(ring(3, 1), {.batch_size = 2}, std::move(groups));
  };
  expect_error(ErrorCode::invalid_argument, "the groups have 2 offsets, must have 4",
               [&] { make({{0, 1}, {4}}); });
  expect_error(ErrorCode::invalid_argument, "must rise from 0 to the number of groups, which is 2",
               [&] { make({{0, 2, 1, 2}, {4, 4}}); });
  expect_error(ErrorCode::invalid_argument, "which is 2", [&] { make({{0, 1, 2, 3}, {4, 4}}); });
}

}  // namespace helip
