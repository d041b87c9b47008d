#include "helip/hard_pairs.h"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "support/expect_error.h"
#include "support/temporary_folder.h"

using namespace helip;
using Catch::Approx;

namespace {

struct Table {
  std::int64_t k = 2;
  std::vector<std::int64_t> ids{1, 2, 0, -1, 0, 1, -1, -1};
  std::vector<float> scores{.9F, .8F, .9F, 0, .8F, .5F, 0, 0};
  std::vector<std::int32_t> counts{2, 1, 2, 0};

  HardPairs make(HardPairs::Origin origin = {}) const {
    const auto rows = static_cast<std::int64_t>(counts.size());
    return HardPairs::from_arrays({ids.data(), rows, k, DType::int64, 8 * k, nullptr},
                                  {scores.data(), rows, k, DType::float32, 4 * k, nullptr},
                                  {counts.data(), rows, 1, DType::int32, 4, nullptr},
                                  std::move(origin));
  }
};

}  // namespace

TEST_CASE("a saved table is the table that was saved") {
  const TemporaryFolder folder;
  const HardPairs pairs = Table().make({"f", "kf", R"({"k":2})", R"({"pairs_scored":5})"});
  pairs.save(folder / "p");
  const HardPairs read = HardPairs::open(folder / "p");
  read.verify();
  REQUIRE(read.size() == 4);
  CHECK(read.ids().dtype == DType::int32);
  for (std::int64_t i = 0; i < 4; ++i) {
    CHECK(read.count(i) == pairs.count(i));
    for (std::int64_t r = 0; r < 2; ++r) {
      CHECK(read.id(i, r) == pairs.id(i, r));
      CHECK(read.score(i, r) == pairs.score(i, r));
    }
  }
  CHECK(read.origin().fingerprint == "f");
  CHECK(read.origin().keys_fingerprint == "kf");
  CHECK(read.origin().options_json == R"({"k":2})");
  CHECK(read.origin().report_json == R"({"pairs_scored":5})");
  expect_error(ErrorCode::invalid_argument, "already holds", [&] { pairs.save(folder / "p"); });
}

TEST_CASE("a table that breaks a rule is refused with the place") {
  const auto refuse = [](const std::string& part, auto change) {
    Table table;
    change(table);
    expect_error(ErrorCode::invalid_argument, part, [&] { table.make(); });
  };
  refuse("target 0, rank 1 has the id 4", [](Table& t) { t.ids[1] = 4; });
  refuse("target 2, rank 0 names the target itself", [](Table& t) { t.ids[4] = 2; });
  refuse("target 1, rank 1 lies beyond", [](Table& t) { t.ids[3] = 3; });
  refuse("target 3, rank 0 lies beyond", [](Table& t) { t.scores[6] = 1; });
  refuse("target 1 has the count 3", [](Table& t) { t.counts[1] = 3; });
  refuse("not finite", [](Table& t) { t.scores[0] = NAN; });
}

TEST_CASE("a flipped bit in the ids shows when the table is opened") {
  const TemporaryFolder folder;
  Table().make().save(folder / "p");
  FILE* file = std::fopen((folder / "p/shard-00000.safetensors").c_str(), "r+b");
  std::fseek(file, 4096, SEEK_SET);
  std::fputc(3, file);
  std::fclose(file);
  expect_error(ErrorCode::corrupt, "\"ids\"", [&] { HardPairs::open(folder / "p"); });
}

TEST_CASE("statistics count outliers, short targets and hubs") {
  const HardPairStatistics s = Table().make().statistics();
  CHECK(s.targets == 4);
  CHECK(s.pairs == 5);
  CHECK(s.outliers == 1);
  CHECK(s.short_targets == 2);
  CHECK(s.score_quantiles[4].second == Approx(0.8));
  CHECK(s.score_quantiles[0].second == Approx(0.5));
  CHECK(s.first_score_quantiles[0].second == Approx(0.8));
  CHECK(s.mean_in_degree == Approx(1.25));
  CHECK(s.max_in_degree == 2);
  CHECK(s.never_chosen == 1);
  CHECK(s.hubs[0] == std::pair<std::int64_t, std::int64_t>{0, 2});
  CHECK(s.hubs[1] == std::pair<std::int64_t, std::int64_t>{1, 2});
}

TEST_CASE("a writer takes bands in order, and misses none") {
  const TemporaryFolder folder;
  for (const bool to_disk : {false, true}) {
    const auto path = to_disk ? folder / "p" : std::filesystem::path();
    HardPairsWriter writer(path, 4, 2);
    const Table table;
    writer.write({0, 2, {1, 2, 0, -1}, {.9F, .8F, .9F, 0}, {2, 1}});
    expect_error(ErrorCode::invalid_argument, "does not follow row 2",
                 [&] { writer.write({3, 2, {-1, -1}, {0, 0}, {0}}); });
    expect_error(ErrorCode::invalid_argument, "2 of 4 rows", [&] { writer.finish({}); });
    writer.write({2, 2, {0, 1, -1, -1}, {.8F, .5F, 0, 0}, {2, 0}});
    const HardPairs pairs = writer.finish({});
    CHECK(pairs.id(2, 1) == 1);
    CHECK(pairs.count(3) == 0);
  }
  {
    HardPairsWriter given_up(folder / "q", 4, 2);
  }
  CHECK_FALSE(std::filesystem::exists(folder / "q"));
}

TEST_CASE("a table of no rows is legal") {
  const TemporaryFolder folder;
  HardPairsWriter writer(folder / "p", 0, 5);
  CHECK(writer.finish({}).size() == 0);
  CHECK(HardPairs::open(folder / "p").k() == 5);
  CHECK(HardPairs::open(folder / "p").statistics().targets == 0);
}
