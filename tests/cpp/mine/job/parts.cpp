// Mining in parts: whatever the cut, the table has the bytes of a single run.
#include "helip/parts.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <filesystem>

#include "helip/embedding_store_writer.h"
#include "helip/hard_pairs_writer.h"
#include "io/json.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;

namespace {

namespace fs = std::filesystem;

EmbeddingStore store_of(const fs::path& path, std::int64_t rows, unsigned seed = 1) {
  const Data data = clustered_data(rows, 16, 12, DType::float32, seed);
  auto writer = EmbeddingStoreWriter::create(path, {16, 12, DType::float32, 4096});
  std::vector<std::string> keys;
  for (std::int64_t i = 0; i < rows; ++i) keys.push_back("k" + std::to_string(i));
  writer.append(keys, data.image.view(), data.text.view());
  return writer.commit();
}

std::vector<fs::path> mine_all(const EmbeddingStore& store, const MineOptions& options,
                               std::int64_t count, const TemporaryFolder& folder) {
  std::vector<fs::path> paths;
  for (std::int64_t index = 1; index <= count; ++index) {
    paths.push_back(folder / ("part-" + std::to_string(index)));
    mine_part(store, index, count, options, paths.back());
  }
  return paths;
}

}  // namespace

TEST_CASE("merged parts are the table of a single run", "[parts]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", 400);
  MineOptions options = exact_options(6);
  options.skip = 1;
  SECTION("exact") {}
  SECTION("sample") {
    options.method = MiningMethod::sample;
    options.candidates = 150;
    options.refresh = 90;
  }
  SECTION("collapse") {
    options.collapse = Collapse::image;
    options.image_max = 0.8;
  }
  SECTION("margin, in bands") {
    options.memory = 1;
    options.signed_products = true;
  }
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  for (const std::int64_t count : {1, 3, 8}) {
    const TemporaryFolder parts;
    const auto paths = mine_all(store, options, count, parts);
    const HardPairs merged = merge_parts(paths, parts / "merged");
    REQUIRE(bytes_of(merged) == bytes_of(whole));
    REQUIRE(merged.origin().fingerprint == store.fingerprint());
    REQUIRE(merge_parts(paths, {}).size() == 400);
  }
}

TEST_CASE("a job in parts takes up those that are done, and counts them", "[parts]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", 400);
  MineOptions options = exact_options(6);
  const std::string whole = bytes_of(mine(store, options, {}, folder / "whole"));
  options.parts = 8;
  const auto stop_half_way = [](const Progress& progress) {
    return progress.stage != "mine" || progress.done < 200;
  };
  expect_error(ErrorCode::cancelled, "stopped",
               [&] { mine(store, options, stop_half_way, folder / "p"); });
  REQUIRE(fs::exists(folder / "p.parts"));
  REQUIRE(!fs::exists(folder / "p"));

  MineOptions changed = options;
  changed.k = 7;
  expect_error(ErrorCode::mismatch, "k 6, here 7", [&] { mine(store, changed, {}, folder / "p"); });
  changed = options;
  changed.parts = 5;
  expect_error(ErrorCode::mismatch, "8 parts, now 5",
               [&] { mine(store, changed, {}, folder / "p"); });
  expect_error(ErrorCode::mismatch, "store",
               [&] { mine(store_of(folder / "other", 400, 2), options, {}, folder / "p"); });

  std::int64_t first = -1;
  const HardPairs pairs = mine(
      store, options,
      [&](const Progress& progress) {
        if (progress.stage == "mine" && first < 0) first = progress.done;
        return true;
      },
      folder / "p");
  REQUIRE(first >= 150);
  REQUIRE(bytes_of(pairs) == whole);
  REQUIRE(!fs::exists(folder / "p.parts"));
}

TEST_CASE("what cannot be done in parts is refused", "[parts]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", 30);
  MineOptions options = exact_options(3);
  const auto refuse = [&](std::int64_t index, std::int64_t count, const char* words) {
    expect_error(ErrorCode::invalid_argument, words,
                 [&] { mine_part(store, index, count, options, folder / "p"); });
  };
  refuse(0, 3, "the part is 0 of 3");
  refuse(4, 3, "the part is 4 of 3");
  refuse(1, 31, "1 .. 30");
  refuse(1, 0, "number of parts is 0");
  options.parts = 2;
  expect_error(ErrorCode::invalid_argument, "give out", [&] { mine(store, options); });
  expect_error(ErrorCode::invalid_argument, "fingerprint",
               [&] { mine(store.image(), store.text(), options, {}, folder / "p"); });
  options.method = MiningMethod::hnsw;
  expect_error(ErrorCode::unsupported, "method is 'hnsw'",
               [&] { mine(store, options, {}, folder / "p"); });
  expect_error(ErrorCode::unsupported, "method is 'hnsw'",
               [&] { mine_part(store, 1, 2, options, folder / "p"); });
}

TEST_CASE("parts that do not make a table are refused with the reason", "[parts]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", 60);
  const auto paths = mine_all(store, exact_options(3), 4, folder);
  expect_error(ErrorCode::invalid_argument, "missing: 2 (targets 15 .. 29), 4 (targets 45 .. 59)",
               [&] { merge_parts({paths[2], paths[0]}, {}); });
  expect_error(ErrorCode::invalid_argument, "part 3 of 4 is given twice",
               [&] { merge_parts({paths[2], paths[0], paths[2]}, {}); });
  expect_error(ErrorCode::invalid_argument, "no part", [&] { merge_parts({}, {}); });
  mine_part(store, 2, 4, exact_options(5), folder / "other");
  expect_error(ErrorCode::mismatch, "k 3, here 5",
               [&] { merge_parts({paths[0], folder / "other"}, folder / "out"); });
  REQUIRE(!fs::exists(folder / "out"));
}

TEST_CASE("one part of a job of very many is refused at once", "[parts]") {
  const TemporaryFolder folder;
  constexpr std::int64_t kMany = std::int64_t{1} << 40;
  HardPairsPartWriter writer(folder / "p", {kMany, kMany, kMany}, 1);
  writer.write({.first = kMany - 1, .k = 1, .ids = {0}, .scores = {0.5F}, .counts = {1}});
  writer.finish({"f", "", R"({"k": 1})", R"({"pairs": 1})"});
  expect_error(ErrorCode::invalid_argument, "missing: 1 (targets 0 .. 0), 2 (targets 1 .. 1)",
               [&] { merge_parts({folder / "p"}, folder / "out"); });
}

TEST_CASE("hits of a part that no target can have are damage", "[parts]") {
  const TemporaryFolder folder;
  for (const Json& hits : {Json({0, 0}), Json({-1, 3}), Json({4, 3}), Json({0, 1e300})}) {
    INFO(hits);
    const fs::path path = folder / hits.dump();
    HardPairsPartWriter writer(path, {1, 1, 2}, 1);
    writer.write({.first = 0, .k = 1, .ids = {1, 0}, .scores = {0.5F, 0.5F}, .counts = {1, 1}});
    const Json report{
        {"pairs", 2}, {"drops", Json::object()}, {"recall_hits", Json::array({hits})}};
    writer.finish({"f", "", R"({"k": 1})", report.dump()});
    expect_error(ErrorCode::corrupt, "the report of a part is damaged",
                 [&] { merge_parts({path}, {}); });
  }
}

TEST_CASE("a path that the system cannot look at is an error of files", "[parts]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", 60);
  const fs::path out = folder / std::string(300, 'x');
  expect_error(ErrorCode::io, "xxx", [&] { mine_part(store, 1, 2, exact_options(4), out); });
  MineOptions options = exact_options(4);
  options.parts = 2;
  expect_error(ErrorCode::io, "xxx", [&] { mine(store, options, {}, out); });
}
