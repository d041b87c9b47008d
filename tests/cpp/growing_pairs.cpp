#include "helip/growing_pairs.h"

#include <catch2/catch_test_macros.hpp>

namespace helip {

TEST_CASE("a pair is offered to both of its rows, and the k best stay", "[growing_pairs]") {
  GrowingPairs pairs(5, 2);
  pairs.offer({0}, {0, 2, {3, 1}, {0.9F, 0.5F}, {2}});
  CHECK(pairs.known() == 3);
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

}  // namespace helip
