#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
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

BatchOptions communities(BatchOptions options) {
  options.strategy = BatchStrategy::communities;
  return options;
}

std::vector<std::int64_t> rest_of_epoch(BatchSampler& sampler, std::int64_t consumed) {
  sampler.set_epoch(0, consumed);
  std::vector<std::int64_t> rows;
  for (std::int64_t step = 0; step < sampler.batches_after(consumed); ++step) {
    const auto targets = next_targets(sampler, step);
    rows.insert(rows.end(), targets.begin(), targets.end());
  }
  return rows;
}

}  // namespace

TEST_CASE("a batch is made of whole communities, but for those that it cuts",
          "[strategy_communities]") {
  BatchSampler sampler(groups_of_rows(40, 16),
                       communities({.batch_size = 64, .community_rows = 16}));
  CHECK(sampler.batches_per_epoch() == 10);
  for (const BatchRows& batch : epoch_of(sampler)) {
    std::set<std::int64_t> groups;
    for (const std::int64_t row : batch.index) groups.insert(row % 40);
    CHECK(batch.index.size() == 64);
    CHECK(groups.size() == 4);
  }
  CHECK(sampler.statistics().targets == 640);
  CHECK(sampler.statistics().hard_pairs == 0);
  CHECK(sampler.statistics().shared == 640);
}

TEST_CASE("fraction is the share of rows that are in communities, in every batch",
          "[strategy_communities]") {
  const std::int64_t groups = 100;
  const auto in_company = [&](double fraction) {
    BatchSampler sampler(
        groups_of_rows(groups, 20),
        communities({.batch_size = 50, .fraction = fraction, .community_rows = 10}));
    std::vector<double> shares;
    for (const BatchRows& batch : epoch_of(sampler)) {
      std::vector<std::int64_t> held(static_cast<std::size_t>(groups), 0);
      for (const std::int64_t row : batch.index) ++held[static_cast<std::size_t>(row % groups)];
      double together = 0.0;
      for (const std::int64_t row : batch.index) {
        together += held[static_cast<std::size_t>(row % groups)] >= 4 ? 1.0 : 0.0;
      }
      shares.push_back(together / static_cast<double>(batch.index.size()));
    }
    return shares;
  };
  const auto all = in_company(1.0);
  CHECK(*std::min_element(all.begin(), all.end()) > 0.8);
  const auto half = in_company(0.5);
  CHECK(*std::min_element(half.begin(), half.end()) > 0.3);
  CHECK(*std::max_element(half.begin(), half.end()) < 0.7);
  const auto none = in_company(0.0);
  CHECK(*std::max_element(none.begin(), none.end()) < 0.2);
}

TEST_CASE("a schedule leads from plain epochs to epochs of communities", "[strategy_communities]") {
  const std::int64_t groups = 100;
  BatchSampler sampler(groups_of_rows(groups, 20),
                       communities({.batch_size = 50,
                                    .fraction = 0.0,
                                    .schedule = {.epochs = 2.0, .fraction = 1.0},
                                    .community_rows = 10}));
  std::vector<double> company;  // rows of its group that a row meets, by epoch
  for (std::int64_t epoch = 0; epoch < 4; ++epoch) {
    sampler.set_epoch(epoch);
    CHECK(sampler.hardness(0).fraction == std::min(1.0, static_cast<double>(epoch) / 2.0));
    CHECK(sampler.hardness(30).fraction == sampler.hardness(0).fraction);
    double met = 0.0;
    for (std::int64_t step = 0; step < sampler.batches_per_epoch(); ++step) {
      std::vector<std::int64_t> held(static_cast<std::size_t>(groups), 0);
      for (const std::int64_t row : sampler.batch(step).index) {
        ++held[static_cast<std::size_t>(row % groups)];
      }
      for (const std::int64_t count : held) met += static_cast<double>(count * (count - 1));
    }
    company.push_back(met / 2000.0);
  }
  CHECK(company[0] < 1.0);
  CHECK(company[1] > 1.5);
  CHECK(company[1] < 5.0);
  CHECK(company[2] > 7.0);
  CHECK(company[3] > 7.0);
}

TEST_CASE("rows without hard pairs come among the communities, and the others as without them",
          "[strategy_communities]") {
  std::vector<std::vector<std::int64_t>> pools(200);
  for (std::int64_t row = 0; row < 20; ++row) {
    for (std::int64_t j = 1; j <= 4; ++j) {
      pools[static_cast<std::size_t>(row)].push_back((row + j) % 20);
    }
  }
  BatchSampler sampler(test::table(pools, 4),
                       communities({.batch_size = 40, .short_policy = ShortPolicy::keep}));
  CHECK(sampler.eligible_targets() == 200);
  std::set<std::int64_t> seen;
  for (const BatchRows& batch : epoch_of(sampler)) {
    seen.insert(batch.index.begin(), batch.index.end());
    CHECK(batch.index.size() == 40);
  }
  CHECK(seen.size() == 200);
  CHECK(sampler.statistics().plain_targets == 180);

  // Where every row has hard pairs, nothing is another.
  const BatchOptions filled{.batch_size = 40, .seed = 3, .targets_per_batch = 30};
  BatchSampler one(ring(300, 9), communities(filled));
  BatchOptions keeping = filled;
  keeping.short_policy = ShortPolicy::keep;
  BatchSampler other(ring(300, 9), communities(keeping));
  CHECK(digest(epoch_of(one)) == digest(epoch_of(other)));
}

TEST_CASE("what is left of an epoch can be gone through in other batches on other ranks",
          "[strategy_communities]") {
  const auto pairs = ring(600, 20);
  BatchSampler whole(pairs, communities({.batch_size = 40, .seed = 3, .community_rows = 8}));
  const auto order = rest_of_epoch(whole, 0);
  const std::int64_t gone = whole.targets_before(5);
  std::vector<std::int64_t> rest;
  for (std::int64_t rank = 0; rank < 3; ++rank) {
    BatchSampler other(
        pairs,
        communities(
            {.batch_size = 25, .seed = 3, .rank = rank, .world_size = 3, .community_rows = 8}));
    for (const std::int64_t row : rest_of_epoch(other, gone)) rest.push_back(row);
  }
  std::vector<std::int64_t> expected(order.begin() + gone, order.end());
  std::sort(expected.begin(), expected.end());
  std::sort(rest.begin(), rest.end());
  CHECK(rest == expected);
}

TEST_CASE("communities are the same bytes on every machine", "[strategy_communities]") {
  BatchSampler sampler(ring(1000, 12),
                       communities({.batch_size = 64, .seed = 42, .community_rows = 10}));
  CHECK(digest(epoch_of(sampler)) == 0x8ce50678962e1b4bULL);
}

}  // namespace helip
