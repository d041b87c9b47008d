// Pairs of rows that are shared out: whatever the number of shares, the table has the bytes of a
// single run.
#include "helip/shares.h"

#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "helip/error.h"
#include "helip/mapped_files.h"
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

void mine_step(const EmbeddingStore& store, const MineOptions& options, std::int64_t count,
               std::int64_t step, const fs::path& folder) {
  // In any order, by any number of threads.
  for (std::int64_t index = count; index >= 1; --index) {
    MineOptions own = options;
    own.threads = 1 + static_cast<int>(index % 2);
    mine_share(store, {index, count, step}, own, folder);
  }
}

struct Mined {
  HardPairs table;
  std::int64_t steps;
};

Mined mined_in_shares(const EmbeddingStore& store, const MineOptions& options, std::int64_t count,
                      const fs::path& folder, const fs::path& out) {
  for (std::int64_t step = prepare_shares(store, count, options, folder);; ++step) {
    REQUIRE(prepare_shares(store, count, options, folder) <= step);
    mine_step(store, options, count, step, folder);
    if (auto table = merge_shares(store, count, step, options, folder, out)) {
      REQUIRE_FALSE(fs::exists(folder));
      return {std::move(*table), step + 1};
    }
    REQUIRE_FALSE(fs::exists(out / "manifest.json"));
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
    const Mined mined =
        mined_in_shares(store, options, count, shares, folder / std::to_string(count));
    REQUIRE((bytes_of(mined.table) == bytes_of(whole)));
    REQUIRE(mined.steps == 2);
  }
}

TEST_CASE("more shares are united than files may be open", "[shares]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", with_zeros(300));
  const MineOptions options = exact_options(4);
  constexpr std::int64_t kCount = 60;
  REQUIRE(prepare_shares(store, kCount, options, folder / "p") == 0);
  mine_step(store, options, kCount, 0, folder / "p");
  mine_step(store, options, kCount, 1, folder / "p");
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit few{64, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &few) == 0);
  std::optional<HardPairs> merged;
  std::string error;
  try {
    merged = merge_shares(store, kCount, 1, options, folder / "p", folder / "merged");
  } catch (const Error& thrown) {
    error = thrown.what();
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(error.empty());
  REQUIRE(merged);
  REQUIRE((bytes_of(*merged) == bytes_of(mine(store, options, {}, folder / "whole"))));
}

TEST_CASE("a margin is asked of each pair by the share that owns it", "[shares]") {
  const TemporaryFolder folder;
  const EmbeddingStore store =
      store_of(folder / "s", clustered_data(600, 20, 20, DType::float32, 1, 30, 0.6));
  MineOptions options = exact_options(6);
  options.margin = 0.05;
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  const Mined mined = mined_in_shares(store, options, 4, folder / "p", folder / "merged");
  REQUIRE(table_of(mined.table).size() == table_of(whole).size());
  REQUIRE((bytes_of(mined.table) == bytes_of(whole)));
}

TEST_CASE("shares of clusters are the table of a single run", "[shares][partition]") {
  const TemporaryFolder folder;
  MineOptions options = exact_options(10);
  options.method = MiningMethod::partition;
  std::int64_t rows = 25000;
  bool all_pairs = false;
  std::int64_t steps = 2;  // at least
  std::vector<std::int64_t> counts{5};
  SECTION("clusters, and neighbours of neighbours") { counts = {1, 5}; }
  SECTION("with codes beside the store") { options.keep_codes = true; }
  SECTION("of a group the best, on disk") {
    options.collapse = Collapse::image;
    options.image_max = 0.97;
    options.memory = 1;
  }
  SECTION("more clusters") {
    options.recall = 0.965;
    steps = 5;
  }
  SECTION("all pairs of few rows") {
    rows = 2000;
    all_pairs = true;
  }
  SECTION("all pairs, as the clusters turn out to be of no use") {
    options.recall = 0.99;
    all_pairs = true;
  }
  const EmbeddingStore store =
      store_of(folder / "s", clustered_data(rows, 48, 32, DType::float32, 1, 400, 0.9));
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  REQUIRE(report_of(whole)["partition"]["exact"].get<bool>() == all_pairs);
  for (const std::int64_t count : counts) {
    INFO(count);
    const Mined mined =
        mined_in_shares(store, options, count, folder / ("p" + std::to_string(count) + ".shares"),
                        folder / std::to_string(count));
    REQUIRE((bytes_of(mined.table) == bytes_of(whole)));
    REQUIRE(mined.steps >= steps);
  }
}

TEST_CASE("a step of clusters that was merged is not mined again", "[shares][partition]") {
  const TemporaryFolder folder;
  MineOptions options = exact_options(10);
  options.method = MiningMethod::partition;
  const EmbeddingStore store =
      store_of(folder / "s", clustered_data(25000, 48, 32, DType::float32, 1, 400, 0.9));
  const fs::path shares = folder / "p";
  REQUIRE(prepare_shares(store, 3, options, shares) == 0);
  mine_step(store, options, 3, 0, shares);
  expect_error(ErrorCode::mismatch, "the step is 1, and the job is at step 0",
               [&] { mine_share(store, {1, 3, 1}, options, shares); });
  REQUIRE_FALSE(merge_shares(store, 3, 0, options, shares, folder / "out"));
  REQUIRE(prepare_shares(store, 3, options, shares) == 1);
  // Its shares are in the job now.
  REQUIRE_FALSE(fs::exists(shares / "step-00-00001-of-00003"));
  expect_error(ErrorCode::mismatch, "the step is 0, and the job is at step 1",
               [&] { mine_share(store, {1, 3, 0}, options, shares); });
  REQUIRE_FALSE(merge_shares(store, 3, 0, options, shares, folder / "out"));  // once more
  expect_error(ErrorCode::mismatch, "shares 3, here 4",
               [&] { (void)prepare_shares(store, 4, options, shares); });
  mine_step(store, options, 3, 1, shares);
  const fs::path file = shares / "step-01-00002-of-00003" / "share.safetensors";
  flip_byte(file, fs::file_size(file) / 2);
  expect_error(ErrorCode::corrupt, "step-01-00002-of-00003",
               [&] { (void)merge_shares(store, 3, 1, options, shares, folder / "out"); });
}

TEST_CASE("shares that are there stay, and those of another job are named", "[shares]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", with_zeros(500));
  const MineOptions options = exact_options(5);
  const fs::path shares = folder / "p";
  expect_error(ErrorCode::io, "ranges", [&] { mine_share(store, {1, 3, 0}, options, shares); });
  REQUIRE(prepare_shares(store, 3, options, shares) == 0);
  mine_step(store, options, 3, 0, shares);
  REQUIRE_FALSE(merge_shares(store, 3, 0, options, shares, folder / "out"));
  mine_step(store, options, 3, 1, shares);
  const fs::path one = shares / "step-01-00002-of-00003" / "manifest.json";
  const auto written = fs::last_write_time(one);
  mine_share(store, {2, 3, 1}, options, shares);
  REQUIRE(fs::last_write_time(one) == written);

  MineOptions changed = options;
  changed.k = 7;
  expect_error(ErrorCode::mismatch, "k 5, here 7",
               [&] { mine_share(store, {1, 3, 0}, changed, shares); });
  expect_error(ErrorCode::mismatch, "shares 3, here 4",
               [&] { (void)prepare_shares(store, 4, options, shares); });
  changed = options;
  changed.method = MiningMethod::sample;
  expect_error(ErrorCode::unsupported, "shared out for 'exact' and 'partition'",
               [&] { (void)prepare_shares(store, 3, changed, shares); });

  for (const std::int64_t count : {0, 501}) {
    expect_error(ErrorCode::invalid_argument, "1 .. 500",
                 [&] { (void)prepare_shares(store, count, options, folder / "q"); });
  }
  expect_error(ErrorCode::invalid_argument, "the share is 4 of 3",
               [&] { mine_share(store, {4, 3, 0}, options, shares); });
  expect_error(ErrorCode::invalid_argument, "the step is 2; it must lie in 0 .. 1",
               [&] { mine_share(store, {1, 3, 2}, options, shares); });

  // Damage of any of them is named, and nothing is written.
  const fs::path file = shares / "step-01-00002-of-00003" / "share.safetensors";
  for (int i = 0; i < 16; ++i) {
    const std::uintmax_t at = fs::file_size(file) * static_cast<std::uintmax_t>(i) / 16;
    flip_byte(file, at);
    expect_error(ErrorCode::corrupt, "step-01-00002-of-00003",
                 [&] { (void)merge_shares(store, 3, 1, options, shares, folder / "out"); });
    REQUIRE_FALSE(fs::exists(folder / "out" / "manifest.json"));
    flip_byte(file, at);
  }
  fs::remove_all(one.parent_path());
  expect_error(ErrorCode::io, "step-01-00002-of-00003",
               [&] { (void)merge_shares(store, 3, 1, options, shares, folder / "out"); });
}

TEST_CASE("a share of a store that was cut meanwhile does not count", "[shares][partition]") {
  const TemporaryFolder folder;
  guard_mapped_files();
  MineOptions options = exact_options(10);
  SECTION("exact") {}
  SECTION("clusters") { options.method = MiningMethod::partition; }
  const EmbeddingStore store =
      store_of(folder / "s", clustered_data(25000, 48, 32, DType::float32, 1, 400, 0.9));
  REQUIRE(prepare_shares(store, 2, options, folder / "p") == 0);
  const fs::path shard = folder / "s" / "shard-00000.safetensors";
  const std::uintmax_t size = fs::file_size(shard);
  const ProgressCallback cut = [&](const Progress& progress) {
    if (progress.stage == "mine") fs::resize_file(shard, size / 4);
    return true;
  };
  expect_error(ErrorCode::corrupt, "shard-00000",
               [&] { mine_share(store, {1, 2, 0}, options, folder / "p", cut); });
  REQUIRE_FALSE(fs::exists(folder / "p" / "step-00-00001-of-00002" / "manifest.json"));
}
