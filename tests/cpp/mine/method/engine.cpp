// What the engines share: where codes lie.
#include "mine/method/engine.h"

#include <catch2/catch_test_macros.hpp>

#include "mine/method/partition.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::testing;

TEST_CASE("codes go to disk where they leave no room for the pools of all rows", "[engine]") {
  constexpr std::int64_t kRows = 1900, kPairs = 7;
  const Data data = clustered_data(kRows, 20, 12, DType::float16);
  MineOptions options = exact_options(kPairs);
  const auto on_disk = [&](std::int64_t memory) {
    options.memory = memory;
    return plan(data.image.view(), data.text.view(), options).scratch_bytes;
  };
  const std::int64_t codes = on_disk(1);
  const std::int64_t pools = kRows * (mining::bytes_of_target(kPairs) + 4 * mining::kNeighbours);
  REQUIRE(pools < codes);  // so that half of the memory is not what decides
  REQUIRE(on_disk(codes + pools) == 0);
  REQUIRE(on_disk(codes + pools - 1) == codes);
}
