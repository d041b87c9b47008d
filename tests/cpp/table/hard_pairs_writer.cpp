#include "helip/hard_pairs_writer.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>

#include "support/band_samples.h"
#include "support/expect_error.h"
#include "support/failing_calls.h"
#include "support/temporary_folder.h"

using namespace helip;

TEST_CASE("a writer takes bands in order, and misses none") {
  const TemporaryFolder folder;
  for (const bool to_disk : {false, true}) {
    const auto path = to_disk ? folder / "p" : std::filesystem::path();
    HardPairsWriter writer(path, 4, 2);
    writer.write({0, 2, {1, 2, 0, -1}, {.9F, .8F, .9F, 0}, {2, 1}});
    expect_error(ErrorCode::invalid_argument, "does not follow row 2",
                 [&] { writer.write({3, 2, {-1, -1}, {0, 0}, {0}}); });
    expect_error(ErrorCode::invalid_argument, "2 of 4 rows", [&] { (void)writer.finish({}); });
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

TEST_CASE("bands that do not follow each other are refused", "[part]") {
  const TemporaryFolder folder;
  HardPairsPartWriter writer(folder / "p", {2, 3, kRows}, 2);
  expect_error(ErrorCode::invalid_argument, "does not follow target 4",
               [&] { writer.write(band_of(5, 1)); });
  writer.write(band_of(4, 2));
  expect_error(ErrorCode::invalid_argument, "a part that ends at 7",
               [&] { writer.write(band_of(6, 2)); });
  expect_error(ErrorCode::invalid_argument, "only those before 6", [&] { writer.finish(kOrigin); });
}

TEST_CASE("a writer that gives up leaves nothing", "[part]") {
  const TemporaryFolder folder;
  {
    HardPairsPartWriter writer(folder / "p", {1, 3, kRows}, 2);
    writer.write(band_of(0, 2));
  }
  REQUIRE(!std::filesystem::exists(folder / "p"));
}

TEST_CASE("a band with a row that breaks a rule is refused, and nothing of it is taken") {
  const TemporaryFolder folder;
  for (const bool to_disk : {false, true}) {
    HardPairsWriter writer(to_disk ? folder / "p" : std::filesystem::path(), kRows, 2);
    const auto refuse = [&](const std::string& part, auto change) {
      HardPairBand band = band_of(0, 5);
      change(band);
      expect_error(ErrorCode::invalid_argument, part, [&] { writer.write(band); });
    };
    refuse("target 4, rank 1 has the id 10", [](HardPairBand& b) { b.ids[9] = kRows; });
    refuse("target 3, rank 0 has the id -2", [](HardPairBand& b) { b.ids[6] = -2; });
    refuse("has the id 4294967297", [](HardPairBand& b) { b.ids[6] = (1LL << 32) + 1; });
    refuse("target 2, rank 0 names the target itself", [](HardPairBand& b) { b.ids[4] = 2; });
    refuse("target 1 has the count 3", [](HardPairBand& b) { b.counts[1] = 3; });
    refuse("target 0, rank 1 lies beyond", [](HardPairBand& b) { b.counts[0] = 1; });
    refuse("not finite", [](HardPairBand& b) { b.scores[0] = INFINITY; });
    refuse("9 ids and 10 scores", [](HardPairBand& b) { b.ids.pop_back(); });
    writer.write(band_of(0, 5));
    writer.write(band_of(5, 5));
    const HardPairs pairs = writer.finish({});
    pairs.verify();
    CHECK(pairs.id(9, 1) == 1);
    expect_error(ErrorCode::invalid_argument, "finished", [&] { (void)writer.finish({}); });
  }
}

TEST_CASE("a table or part that cannot be is refused before anything is made") {
  const TemporaryFolder folder;
  const auto refuse = [&](std::int64_t rows, std::int64_t k) {
    expect_error(ErrorCode::invalid_argument, "rows are at least 0",
                 [&] { HardPairsWriter({}, rows, k); });
    expect_error(ErrorCode::invalid_argument, "rows are at least 0",
                 [&] { HardPairsWriter(folder / "p", rows, k); });
  };
  refuse(-1, 2);
  refuse(10, 0);
  refuse(std::int64_t{1} << 40, std::int64_t{1} << 40);
  expect_error(ErrorCode::invalid_argument, "part 4 of 3",
               [&] { HardPairsPartWriter(folder / "p", {4, 3, 10}, 2); });
  CHECK_FALSE(std::filesystem::exists(folder / "p"));
}

TEST_CASE("a writer takes the place of a table in one step, or leaves it as it was") {
  const TemporaryFolder folder;
  for (const bool finish : {false, true, true}) {
    HardPairsWriter writer(folder / "p", kRows, 2, ExistingTable::replace);
    writer.write(band_of(0, kRows));
    if (finish) CHECK(writer.finish(kOrigin).size() == kRows);
    CHECK(std::filesystem::exists(folder / "p/manifest.json") == finish);
  }
  expect_error(ErrorCode::invalid_argument, "already holds",
               [&] { HardPairsWriter(folder / "p", kRows, 2); });
}

TEST_CASE("a table whose write failed is never published") {
  const TemporaryFolder folder;
  {
    HardPairsWriter writer(folder / "p", kRows, 2);
    writer.write(band_of(0, 4));
    {
      const FailingCalls calls(FailingCalls::Kind::pwrite, 1, ENOSPC, true);
      expect_error(ErrorCode::io, "No space left", [&] { writer.write(band_of(4, 6)); });
    }
    expect_error(ErrorCode::io, "an earlier write", [&] { writer.write(band_of(4, 6)); });
  }
  CHECK_FALSE(std::filesystem::exists(folder / "p"));
}
