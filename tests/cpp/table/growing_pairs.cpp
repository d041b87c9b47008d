#include "helip/growing_pairs.h"

#include <catch2/catch_test_macros.hpp>

#include "support/expect_error.h"

namespace helip {

TEST_CASE("a pair is offered to both of its rows, and the k best stay", "[growing_pairs]") {
  GrowingPairs pairs(5, 2);
  pairs.offer({0}, {0, 2, {3, 1}, {0.9F, 0.5F}, {2}});
  CHECK(pairs.known() == 3);
  CHECK(pairs.pairs() == 4);
  CHECK(pairs.id(3, 0) == 0);
  pairs.offer({0}, {0, 2, {4, 1}, {0.7F, 0.8F}, {2}});  // 1 is there: its score rises
  CHECK(pairs.count(0) == 2);
  CHECK(pairs.id(0, 0) == 3);
  CHECK(pairs.id(0, 1) == 1);
  CHECK(pairs.score(0, 1) == 0.8F);
  const HardPairs table = pairs.table({});
  CHECK(table.count(2) == 0);
  CHECK(table.id(4, 0) == 0);
  CHECK(pairs.known_targets() == std::vector<std::int64_t>{0, 1, 3, 4});
}

TEST_CASE("a pair that is met again with a lower score falls in its pool", "[growing_pairs]") {
  GrowingPairs pairs(4, 3);
  pairs.offer({0}, {0, 3, {1, 2, 3}, {0.9F, 0.8F, 0.7F}, {3}});
  pairs.offer({1}, {0, 3, {0, -1, -1}, {0.75F, 0.0F, 0.0F}, {1}});
  CHECK(pairs.pools({0}).ids == std::vector<std::int64_t>{2, 1, 3});
  CHECK(pairs.score(0, 1) == 0.75F);
  CHECK(pairs.count(1) == 1);
  CHECK(pairs.score(1, 0) == 0.75F);
}

TEST_CASE("pools that were taken out are put back as they were", "[growing_pairs]") {
  GrowingPairs pairs(6, 2);
  pairs.offer({0, 5}, {0, 2, {3, 1, 2, 3}, {0.9F, 0.5F, 0.4F, 0.4F}, {2, 2}});
  GrowingPairs again(6, 2);
  again.offer({4}, {0, 2, {0, -1}, {0.99F, 0.0F}, {1}});
  again.assign({4}, {0, 2, {-1, -1}, {0.0F, 0.0F}, {0}});
  again.assign(pairs.known_targets(), pairs.pools(pairs.known_targets()));
  CHECK(again.known_targets() == pairs.known_targets());
  CHECK(again.known() == pairs.known());
  CHECK(again.pairs() == pairs.pairs());
  const std::vector<std::int64_t> all{0, 1, 2, 3, 4, 5};
  CHECK(again.pools(all).ids == pairs.pools(all).ids);
  CHECK(again.pools(all).scores == pairs.pools(all).scores);
  CHECK(pairs.pools({5}).ids == std::vector<std::int64_t>{2, 3});  // of equal scores the lower id
}

TEST_CASE("pools of other rows are refused, and nothing of them is taken", "[growing_pairs]") {
  GrowingPairs pairs(3, 2);
  const auto refused = [&](const std::string& part, const std::vector<std::int64_t>& targets,
                           const HardPairBand& band) {
    expect_error(ErrorCode::invalid_argument, part, [&] { pairs.offer(targets, band); });
    CHECK(pairs.known() == 0);
  };
  refused("row 3 is none of the rows 0 .. 2", {0, 3}, {0, 1, {1, 1}, {0.5F, 0.5F}, {1, 1}});
  refused("row 7 is none of the rows", {0}, {0, 1, {7}, {0.5F}, {1}});
  refused("has itself for a hard pair", {1}, {0, 1, {1}, {0.5F}, {1}});
  refused("count 2 of row 0", {0}, {0, 1, {1}, {0.5F}, {2}});
  refused("give one pool for each target", {0, 1}, {0, 1, {1}, {0.5F}, {1}});
}

}  // namespace helip
