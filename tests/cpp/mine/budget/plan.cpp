// Plans: which method, and what it takes.
#include "mine/budget/plan.h"

#include <catch2/catch_test_macros.hpp>

#include "mine/budget/budget.h"
#include "mine/pool/bands.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::testing;

TEST_CASE("codes go to disk where they leave no room for the pools of all rows", "[plan]") {
  constexpr std::int64_t kRows = 1900, kPairs = 7;
  const Data data = clustered_data(kRows, 20, 12, DType::float16);
  MineOptions options = exact_options(kPairs);
  options.threads = 3;
  const auto on_disk = [&](std::int64_t memory) {
    options.memory = memory;
    return plan(data.image.view(), data.text.view(), options).scratch_bytes;
  };
  const std::int64_t codes = on_disk(1);
  const std::int64_t pools = kRows * (mining::bytes_of_target(kPairs) + 4 * mining::kNeighbours) +
                             mining::bytes_of_notes(kRows, options.threads);
  REQUIRE(pools < codes);  // so that half of the memory is not what decides
  REQUIRE(on_disk(codes + pools) == 0);
  REQUIRE(on_disk(codes + pools - 1) == codes);
}

TEST_CASE("a plan names its method and why", "[plan]") {
  const Data data = clustered_data(3000, 32, 24);
  const auto planned = [&](MiningMethod method, double recall = 0.95) {
    MineOptions options = exact_options(10);
    options.method = method;
    options.recall = recall;
    return plan(data.image.view(), data.text.view(), options);
  };
  const MinePlan automatic = planned(MiningMethod::automatic);
  REQUIRE(automatic.method == MiningMethod::exact);
  REQUIRE(automatic.reason.find("300000 rows") != std::string::npos);
  REQUIRE(planned(MiningMethod::exact).reason == "asked for");
  for (const MiningMethod method :
       {MiningMethod::sample, MiningMethod::hnsw, MiningMethod::partition}) {
    const MinePlan asked = planned(method);
    INFO(name_of(method));
    REQUIRE(asked.method == method);
    REQUIRE(asked.seconds > 0.0);
    REQUIRE(asked.pairs > 0);
    REQUIRE(asked.memory_bytes > 0);
    REQUIRE(asked.disk_bytes > 3000 * 10 * 8);
  }
  REQUIRE(planned(MiningMethod::exact).pairs == 3000 * 2999);
}

TEST_CASE("less memory makes more bands, never fewer bytes in all", "[plan]") {
  const Data data = clustered_data(6000, 32, 24);
  MineOptions options = exact_options(50);
  const MinePlan whole = plan(data.image.view(), data.text.view(), options);
  options.memory = 1000000;
  const MinePlan banded = plan(data.image.view(), data.text.view(), options);
  REQUIRE(whole.bands == 1);
  REQUIRE(banded.bands > 1);
  REQUIRE(banded.scratch_bytes > 0);
  REQUIRE(banded.memory_bytes < whole.memory_bytes);
}

TEST_CASE("a plan in parts is exact, with the pools of one part in memory", "[plan]") {
  const Data data = clustered_data(3000, 32, 24);
  MineOptions options = exact_options(10);
  options.method = MiningMethod::automatic;
  const MinePlan whole = plan(data.image.view(), data.text.view(), options);
  options.parts = 7;
  const MinePlan parts = plan(data.image.view(), data.text.view(), options);
  REQUIRE(parts.method == MiningMethod::exact);
  REQUIRE(parts.bands == 7);
  REQUIRE(parts.memory_bytes < whole.memory_bytes);
  REQUIRE(parts.pairs == whole.pairs);
}

TEST_CASE("a plan stops where its callback says so", "[plan]") {
  const Data data = clustered_data(3000, 32, 24);
  expect_error(ErrorCode::cancelled, "'plan'", [&] {
    static_cast<void>(plan(data.image.view(), data.text.view(), exact_options(10),
                           [](const Progress&) { return false; }));
  });
}
