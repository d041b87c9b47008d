#include "load/target_spread.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>

namespace helip::load {

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
