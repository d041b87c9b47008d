#include "helip/hard_pairs_part.h"

#include <catch2/catch_test_macros.hpp>
#include <utility>
#include <vector>

#include "helip/hard_pairs_writer.h"
#include "io/column_writer.h"
#include "io/json.h"
#include "io/manifest.h"
#include "support/band_samples.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"
#include "table/pair_columns.h"

using namespace helip;

namespace {

HardPairsPart write_part(const std::filesystem::path& path, const PartRange& range) {
  HardPairsPartWriter writer(path, range, 2);
  writer.write(band_of(range.first(), 1));
  if (range.size() > 1) writer.write(band_of(range.first() + 1, range.size() - 1));
  return writer.finish(kOrigin);
}

}  // namespace

TEST_CASE("ranges are even, in order and cover every target", "[part]") {
  for (const std::int64_t rows : {0L, 1L, 10L, 17L, (1L << 40) + 7}) {
    for (const std::int64_t count : {1L, 3L, 10L}) {
      std::int64_t next = 0;
      for (std::int64_t index = 1; index <= count; ++index) {
        const PartRange range{index, count, rows};
        REQUIRE(range.first() == next);
        REQUIRE(range.size() - rows / count >= 0);
        REQUIRE(range.size() - rows / count <= 1);
        next = range.last();
      }
      REQUIRE(next == rows);
    }
  }
}

TEST_CASE("a part is what was written", "[part]") {
  const TemporaryFolder folder;
  const PartRange range{2, 3, kRows};
  write_part(folder / "p", range);
  const HardPairsPart part = HardPairsPart::open(folder / "p");
  part.verify();
  REQUIRE(part.range() == range);
  REQUIRE(part.k() == 2);
  REQUIRE(part.origin().fingerprint == "f");
  REQUIRE(part.origin().options_json == R"({"k":2})");
  REQUIRE(part.ids().rows == 3);
  const HardPairBand band = part.band(5, 2);
  REQUIRE(band.ids == band_of(5, 2).ids);
  REQUIRE(band.scores == band_of(5, 2).scores);
  REQUIRE(band.counts == band_of(5, 2).counts);
  expect_error(ErrorCode::invalid_argument, "5 .. 8", [&] { (void)part.band(5, 3); });
  expect_error(ErrorCode::invalid_argument, "3 .. 4", [&] { (void)part.band(3, 1); });
}

TEST_CASE("a part that claims another place is damaged", "[part]") {
  const TemporaryFolder folder;
  write_part(folder / "p", {2, 3, kRows});
  for (const auto& [name, value] :
       std::vector<std::pair<const char*, std::int64_t>>{{"index", 0},
                                                         {"index", 4},
                                                         {"count", 0},
                                                         {"count", 2},
                                                         {"rows", -1},
                                                         {"rows", 100},
                                                         {"rows", std::int64_t{1} << 62}}) {
    Manifest manifest = read_manifest(folder / "p", "helip.hard_pairs_part");
    const Json before = manifest.attributes;
    manifest.attributes["part"][name] = value;
    write_manifest(folder / "p", manifest);
    expect_error(ErrorCode::corrupt, "says that it is part",
                 [&] { (void)HardPairsPart::open(folder / "p"); });
    manifest.attributes = before;
    write_manifest(folder / "p", manifest);
  }
  HardPairsPart::open(folder / "p").verify();
  // As many rows as it says, none, but no job has more parts than targets.
  ColumnWriter writer(folder / "e", pair_manifest("helip.hard_pairs_part", kRows, 2), false);
  writer.close([](Manifest& manifest) {
    manifest.attributes = attributes_of(kOrigin);
    manifest.attributes["part"] = {{"index", INT64_MAX}, {"count", INT64_MAX}, {"rows", kRows}};
  });
  expect_error(ErrorCode::corrupt, "says that it is part",
               [&] { (void)HardPairsPart::open(folder / "e"); });
  expect_error(ErrorCode::mismatch, "helip.hard_pairs",
               [&] { (void)HardPairs::open(folder / "p"); });
}

TEST_CASE("a row that breaks a rule of tables is found by verify", "[part]") {
  const TemporaryFolder folder;
  const std::vector<std::int32_t> ids{1, 2, 1, 3};  // target 1 names itself
  const std::vector<float> scores{.5F, .25F, .5F, .25F};
  const std::vector<std::int32_t> counts{2, 2};
  ColumnWriter writer(folder / "p", pair_manifest("helip.hard_pairs_part", kRows, 2), false);
  writer.append(2, {ids.data(), scores.data(), counts.data()}, nullptr);
  writer.close([](Manifest& manifest) {
    manifest.attributes = attributes_of(kOrigin);
    manifest.attributes["part"] = {{"index", 1}, {"count", 5}, {"rows", kRows}};
  });
  const HardPairsPart part = HardPairsPart::open(folder / "p");
  expect_error(ErrorCode::corrupt, "target 1, rank 0 names the target itself",
               [&] { part.verify(); });
  expect_error(ErrorCode::corrupt, "mine this part again", [&] { part.verify(); });
}

TEST_CASE("a part that was moved from, or never opened, has no targets", "[part]") {
  const TemporaryFolder folder;
  HardPairsPart part = write_part(folder / "p", {2, 3, kRows});
  const HardPairsPart taken = std::move(part);
  for (const HardPairsPart& empty : {part, HardPairsPart()}) {  // NOLINT(bugprone-use-after-move)
    CHECK(empty.range().size() == 0);
    CHECK(empty.k() == 0);
    CHECK(empty.path().empty());
    CHECK(empty.counts().rows == 0);
    CHECK_NOTHROW(empty.verify());
    CHECK(empty.band(0, 0).counts.empty());
    expect_error(ErrorCode::invalid_argument, "are not all of part",
                 [&] { (void)empty.band(0, 1); });
  }
  CHECK(taken.range().size() == 3);
}

TEST_CASE("the verification of a part stops when it is asked to", "[part]") {
  const TemporaryFolder folder;
  const HardPairsPart part = write_part(folder / "p", {2, 3, kRows});
  expect_error(ErrorCode::cancelled, "verify",
               [&] { part.verify([](const Progress&) { return false; }); });
}
