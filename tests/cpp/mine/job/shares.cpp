// Pairs of rows that are shared out: whatever the number of shares, the table has the bytes of a
// single run.
#include "helip/shares.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "helip/error.h"
#include "helip/mine.h"
#include "support/bound_cases.h"
#include "support/data_store.h"
#include "support/expect_error.h"
#include "support/flip_byte.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;

namespace {

namespace fs = std::filesystem;

void mine_shares(const EmbeddingStore& store, const MineOptions& options, std::int64_t count,
                 const fs::path& folder) {
  prepare_shares(store, count, options, folder);
  for (const auto step : {Share::within, Share::across}) {
    // In any order, by any number of threads.
    for (std::int64_t index = count; index >= 1; --index) {
      MineOptions own = options;
      own.threads = 1 + static_cast<int>(index % 2);
      mine_share(store, {index, count, step}, own, folder);
    }
  }
}

// With a row of zeros, and some that are equal.
Data with_zeros(std::int64_t rows) {
  std::vector<double> image = clustered_values(rows, 24, 30, 0.6, 1);
  std::vector<double> text = clustered_values(rows, 16, 30, 0.6, 1);
  std::fill_n(image.begin() + 7 * 24, 24, 0.0);
  std::fill_n(text.begin() + (rows - 1) * 16, 16, 0.0);
  return {floats(image, rows), floats(text, rows)};
}

}  // namespace

TEST_CASE("shares are the table of a single run", "[shares]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", with_zeros(700));
  MineOptions options = exact_options(6);
  SECTION("plain") {}
  SECTION("without the best pair, by sum of signs") {
    options.skip = 1;
    options.signed_products = true;
  }
  SECTION("collapse") {
    options.collapse = Collapse::image;
    options.image_max = 0.8;
  }
  SECTION("kept codes, near duplicates, a least score") {
    options.codes = folder / "codes";
    options.image_max = options.text_max = 0.9;
    options.min_score = 0.1;
  }
  SECTION("on disk") { options.memory = 1; }
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  for (const std::int64_t count : {1, 2, 3, 6, 7}) {
    INFO(count);
    const fs::path shares = folder / ("p" + std::to_string(count) + ".shares");
    mine_shares(store, options, count, shares);
    const HardPairs merged =
        merge_shares(store, count, options, shares, folder / std::to_string(count));
    REQUIRE((bytes_of(merged) == bytes_of(whole)));
    REQUIRE_FALSE(fs::exists(shares));
  }
}

TEST_CASE("a margin is asked of each pair by the share that owns it", "[shares]") {
  const TemporaryFolder folder;
  const EmbeddingStore store =
      store_of(folder / "s", clustered_data(600, 20, 20, DType::float32, 1, 30, 0.6));
  MineOptions options = exact_options(6);
  options.margin = 0.05;
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  mine_shares(store, options, 4, folder / "p");
  const HardPairs merged = merge_shares(store, 4, options, folder / "p", folder / "merged");
  REQUIRE(table_of(merged).size() == table_of(whole).size());
  REQUIRE((bytes_of(merged) == bytes_of(whole)));
}

TEST_CASE("shares that are there stay, and those of another job are named", "[shares]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", with_zeros(500));
  const MineOptions options = exact_options(5);
  const fs::path shares = folder / "p";
  expect_error(ErrorCode::io, "ranges",
               [&] { mine_share(store, {1, 3, Share::within}, options, shares); });
  mine_shares(store, options, 3, shares);
  const fs::path one = shares / "across-00002-of-00003" / "manifest.json";
  const auto written = fs::last_write_time(one);
  mine_share(store, {2, 3, Share::across}, options, shares);
  REQUIRE(fs::last_write_time(one) == written);

  MineOptions changed = options;
  changed.k = 7;
  expect_error(ErrorCode::mismatch, "k 5, here 7",
               [&] { mine_share(store, {1, 3, Share::within}, changed, shares); });
  expect_error(ErrorCode::mismatch, "shares 3, here 4",
               [&] { prepare_shares(store, 4, options, shares); });
  changed = options;
  changed.method = MiningMethod::sample;
  expect_error(ErrorCode::unsupported, "pairs are shared out for 'exact'",
               [&] { prepare_shares(store, 3, changed, shares); });

  for (const std::int64_t count : {0, 501}) {
    expect_error(ErrorCode::invalid_argument, "1 .. 500",
                 [&] { prepare_shares(store, count, options, folder / "q"); });
  }
  expect_error(ErrorCode::invalid_argument, "the share is 4 of 3",
               [&] { mine_share(store, {4, 3, Share::within}, options, shares); });

  // Damage of any of them is named, and nothing is written.
  const fs::path file = shares / "across-00002-of-00003" / "share.safetensors";
  for (int i = 0; i < 16; ++i) {
    const std::uintmax_t at = fs::file_size(file) * static_cast<std::uintmax_t>(i) / 16;
    flip_byte(file, at);
    expect_error(ErrorCode::corrupt, "across-00002-of-00003",
                 [&] { (void)merge_shares(store, 3, options, shares, folder / "out"); });
    REQUIRE_FALSE(fs::exists(folder / "out" / "manifest.json"));
    flip_byte(file, at);
  }
  fs::remove_all(one.parent_path());
  expect_error(ErrorCode::io, "across-00002-of-00003",
               [&] { (void)merge_shares(store, 3, options, shares, folder / "out"); });
}
