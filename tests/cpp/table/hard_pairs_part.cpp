#include "helip/hard_pairs_part.h"

#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "io/manifest.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

using namespace helip;

namespace {

constexpr std::int64_t kRows = 10;

// Pools of the targets of a band: the next two rows.
HardPairBand band_of(std::int64_t first, std::int64_t rows) {
  HardPairBand band;
  band.first = first;
  band.k = 2;
  for (std::int64_t i = first; i < first + rows; ++i) {
    band.ids.insert(band.ids.end(), {(i + 1) % kRows, (i + 2) % kRows});
    band.scores.insert(band.scores.end(), {.5F, .25F});
    band.counts.push_back(2);
  }
  return band;
}

const HardPairs::Origin kOrigin{"f", "kf", R"({"k":2})", R"({"pairs":30})"};

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
  expect_error(ErrorCode::invalid_argument, "5 .. 8", [&] { part.band(5, 3); });
  expect_error(ErrorCode::invalid_argument, "3 .. 4", [&] { part.band(3, 1); });
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
    const nlohmann::json before = manifest.attributes;
    manifest.attributes["part"][name] = value;
    write_manifest(folder / "p", manifest);
    expect_error(ErrorCode::corrupt, "says that it is part",
                 [&] { HardPairsPart::open(folder / "p"); });
    manifest.attributes = before;
    write_manifest(folder / "p", manifest);
  }
  HardPairsPart::open(folder / "p").verify();
  expect_error(ErrorCode::mismatch, "helip.hard_pairs", [&] { HardPairs::open(folder / "p"); });
}

TEST_CASE("a row that breaks a rule of tables is found by verify", "[part]") {
  const TemporaryFolder folder;
  HardPairsPartWriter writer(folder / "p", {1, 5, kRows}, 2);
  HardPairBand band = band_of(0, 2);
  band.ids[2] = 1;  // target 1 names itself
  writer.write(band);
  const HardPairsPart part = writer.finish(kOrigin);
  expect_error(ErrorCode::corrupt, "target 1, rank 0 names the target itself",
               [&] { part.verify(); });
}
