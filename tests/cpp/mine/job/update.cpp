#include "helip/update.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "helip/embedding_store_writer.h"
#include "helip/store_assembly.h"
#include "io/json.h"
#include "support/expect_error.h"
#include "support/growing_store.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;

namespace fs = std::filesystem;

TEST_CASE("an updated table is byte for byte that of a fresh run, whatever the split", "[update]") {
  const std::int64_t rows = 900;
  for (const std::int64_t before : {1, 250, 600, 840, 899}) {
    INFO("from " << before << " rows");
    Growing growing(image_values(rows), text_values(rows));
    const MineOptions options = exact_options(8);
    const HardPairs pairs = mine(growing.grow(before), options);
    const EmbeddingStore store = growing.grow(rows);
    const HardPairs updated = update(pairs, store, {2, 0});
    check_fresh(updated, store, options);
    CHECK(did(updated)["added"] == rows - before);
    CHECK(did(updated).contains("afresh") == (2 * (rows - before) > rows));
  }
}

TEST_CASE("rows with other values are mined anew, and leave the pools that they were in",
          "[update]") {
  // With and without filters; many rows of few values make bounds that are hard to get right.
  for (const std::int64_t rows : {500, 5000}) {
    INFO(rows << " rows");
    Growing growing(image_values(rows), text_values(rows));
    const MineOptions options = exact_options(6);
    const HardPairs pairs = mine(growing.grow(rows - 20), options);
    std::vector<std::int64_t> changed;
    for (std::int64_t row = 5; row < rows - 20; row += rows / 40) changed.push_back(row);
    const auto count = static_cast<std::int64_t>(changed.size());
    // Far from all others: whoever had these rows in its pool has fewer of such scores now.
    std::vector<double> image = image_values(count, 7), text = text_values(count, 7);
    for (double& value : image) value = -value;
    const Data values{Matrix(image, count, kImage, DType::float32),
                      Matrix(text, count, kText, DType::float32)};
    growing.replace(changed, values);
    const EmbeddingStore store = growing.grow(rows, {3, 40, 41});
    // With the little memory they lie in several bands of old targets.
    std::int64_t looked_at = 0;
    for (const std::int64_t memory : {0, 300000}) {
      const HardPairs updated = update(pairs, store, {2, memory});
      check_fresh(updated, store, options);
      if (memory == 0) looked_at = did(updated)["pairs"];
      CHECK(did(updated)["pairs"] == looked_at);
      CHECK(did(updated)["replaced"] == count);
      CHECK(did(updated)["deleted"] == 3);
      CHECK(did(updated)["added"] == 20);
      CHECK_FALSE(did(updated).contains("afresh"));
    }
  }
}

TEST_CASE("an update follows the rules that the table was mined by", "[update]") {
  const std::int64_t rows = 700;
  std::vector<MineOptions> all(8, exact_options(9));
  all[1].min_score = 0.4;
  all[2].signed_products = true;
  all[3].modality = Modality::image;
  all[4].modality = Modality::text;
  all[5].image_max = all[5].text_max = 0.8;
  all[6].image_max = all[6].text_max = 1.0;
  all[7].k = 1;
  for (const DType dtype : {DType::float32, DType::int8}) {
    Growing growing(image_values(rows), text_values(rows), dtype);
    std::vector<HardPairs> before;
    const EmbeddingStore first = growing.grow(560);
    for (const MineOptions& options : all) before.push_back(mine(first, options));
    const EmbeddingStore store = growing.grow(rows);
    for (std::size_t i = 0; i < all.size(); ++i) {
      INFO("options " << i);
      const HardPairs updated = update(before[i], store, {2, 0});
      check_fresh(updated, store, all[i]);
      CHECK_FALSE(did(updated).contains("afresh"));
    }
  }
}

TEST_CASE("a margin is kept for new and old pairs", "[update]") {
  const TemporaryFolder folder;
  const std::int64_t rows = 400;
  const Data data = clustered_data(rows, kText, kText);
  auto writer = EmbeddingStoreWriter::create(folder / "s", {kText, kText, DType::float32, 4096});
  std::vector<std::string> keys;
  for (std::int64_t row = 0; row < rows; ++row) keys.push_back(std::to_string(row));
  writer.append({keys.begin(), keys.begin() + 300}, part_of(data.image.view(), 0, 300),
                part_of(data.text.view(), 0, 300));
  MineOptions options = exact_options(6);
  options.margin = 0.1;
  const HardPairs pairs = mine(writer.commit(), options);
  writer.append({keys.begin() + 300, keys.end()}, part_of(data.image.view(), 300, rows),
                part_of(data.text.view(), 300, rows));
  const EmbeddingStore store = writer.commit();
  check_fresh(update(pairs, store), store, options);
}

TEST_CASE("duplicates across the border, equal rows and rows of zeros", "[update]") {
  const std::int64_t rows = 600;
  const auto check = [&](const std::vector<double>& image, const std::vector<double>& text,
                         double maximum) {
    Growing growing(image, text);
    MineOptions options = exact_options(7);
    options.image_max = options.text_max = maximum;
    const HardPairs pairs = mine(growing.grow(480), options);
    const EmbeddingStore store = growing.grow(rows);
    check_fresh(update(pairs, store), store, options);
  };
  // Rows 450 .. 599 are copies of rows 0 .. 149.
  const auto image = repeated(image_values(rows), kImage, 450);
  const auto text = repeated(text_values(rows), kText, 450);
  check(image, text, 0.98);
  check(image, text, 1.0);
  check(repeated(image_values(rows), kImage, 1), repeated(text_values(rows), kText, 1), 1.0);
  check(repeated(image_values(rows), kImage, 3), repeated(text_values(rows), kText, 2), 0.98);
  auto zeros = image_values(rows);
  for (std::int64_t row = 0; row < rows; row += 5) {
    std::fill_n(zeros.begin() + row * kImage, kImage, 0.0);
  }
  check(zeros, text_values(rows), 0.98);
}

TEST_CASE("scores that round to one float32 keep the order of their float64", "[update]") {
  // Candidates about one direction, closer to each other than float32 can tell.
  const std::int64_t rows = 500;
  auto image = repeated(image_values(rows), kImage, 1);
  auto text = text_values(rows);
  for (std::int64_t row = 0; row < rows; ++row) {
    image[static_cast<std::size_t>(row * kImage)] += 1e-6 * static_cast<double>(row * 37 % 101);
    std::copy_n(text.begin(), kText, text.begin() + row * kText);
    text[static_cast<std::size_t>(row * kText)] += 1e-6 * static_cast<double>(row * 53 % 97);
  }
  Growing growing(image, text);
  MineOptions options = exact_options(40);
  options.image_max = options.text_max = 1.0;
  const HardPairs pairs = mine(growing.grow(400), options);
  const EmbeddingStore store = growing.grow(rows);
  const HardPairs updated = update(pairs, store);
  std::set<float> different;
  for (std::int64_t rank = 0; rank < 40; ++rank) different.insert(updated.score(450, rank));
  CHECK(different.size() < 20);
  check_fresh(updated, store, options);
}

TEST_CASE("deleted rows leave all pools, and pools that were full are filled again", "[update]") {
  const std::int64_t rows = 800;
  const MineOptions options = exact_options(6);
  Growing growing(image_values(rows), text_values(rows));
  const HardPairs pairs = mine(growing.grow(700), options);
  const auto hubs = pairs.statistics().hubs;
  std::vector<std::int64_t> deleted{hubs[0].first, hubs[1].first, 3, 699, 701};
  for (std::int64_t rank = 0; rank < pairs.count(10); ++rank) deleted.push_back(pairs.id(10, rank));
  SECTION("together with new rows, some of which are deleted at once") {}
  SECTION("alone") { deleted.erase(deleted.begin() + 4); }
  const bool alone = deleted[4] != 701;
  const EmbeddingStore store = growing.grow(alone ? 700 : rows, deleted);
  const HardPairs updated = update(pairs, store);
  check_fresh(updated, store, options);
  CHECK_FALSE(did(updated).contains("afresh"));
  CHECK(did(updated)["deleted"] == std::set<std::int64_t>(deleted.begin(), deleted.end()).size());
  CHECK(did(updated)["mined_again"] > 5);
  for (const std::int64_t row : deleted) CHECK(updated.count(row) == 0);
}

TEST_CASE("filters that a sample suggests change nothing", "[update]") {
  // Enough rows for leading dimensions, which say nearly all of most rows and little of some.
  constexpr std::int64_t kRows = 6000, kBefore = 5000, kDims = 128, kLatent = 20;
  const TemporaryFolder folder;
  const auto values = [](unsigned seed) {
    const auto latent = clustered_values(kRows, kLatent, 40, 0.5, seed);
    auto all = clustered_values(kRows, kDims, 1, 1.0, seed + 1);
    for (std::int64_t row = 0; row < kRows; ++row) {
      for (std::int64_t d = 0; d < kDims; ++d) {
        double& value = all[static_cast<std::size_t>(row * kDims + d)];
        const double spread = row % 40 == 0 ? 1.0 : 0.05;
        value = spread * value + latent[static_cast<std::size_t>(row * kLatent + d % kLatent)];
      }
    }
    return all;
  };
  const Data data{Matrix(values(3), kRows, kDims, DType::float32),
                  Matrix(values(5), kRows, kDims, DType::float32)};
  std::vector<std::string> keys;
  for (std::int64_t row = 0; row < kRows; ++row) keys.push_back(std::to_string(row));
  auto writer = EmbeddingStoreWriter::create(folder / "s", {kDims, kDims, DType::float32, 4096});
  writer.append({keys.begin(), keys.begin() + kBefore}, part_of(data.image.view(), 0, kBefore),
                part_of(data.text.view(), 0, kBefore));
  const MineOptions options = exact_options(10);
  const HardPairs pairs = mine(writer.commit(), options);
  writer.append({keys.begin() + kBefore, keys.end()}, part_of(data.image.view(), kBefore, kRows),
                part_of(data.text.view(), kBefore, kRows));
  writer.delete_rows({7, 11, 1500, 5001});
  const EmbeddingStore store = writer.commit();
  const HardPairs updated = update(pairs, store, {2, 0});
  check_fresh(updated, store, options);
  CHECK_FALSE(did(updated).contains("afresh"));
  CHECK(did(updated)["mined_again"] > 5);
  const auto report = Json::parse(updated.origin().report_json);
  CHECK(report.at("filters").at("dimensions").at(1) > 0);
}

TEST_CASE("pools that were short lose deleted rows and nothing is mined again", "[update]") {
  const std::int64_t rows = 300;
  MineOptions options = exact_options(200);
  options.min_score = 0.3;
  Growing growing(image_values(rows), text_values(rows));
  const HardPairs pairs = mine(growing.grow(rows), options);
  REQUIRE(pairs.statistics().short_targets == rows);
  const EmbeddingStore store = growing.grow(rows, {0, 20, 40});
  const HardPairs updated = update(pairs, store);
  check_fresh(updated, store, options);
  CHECK(did(updated)["mined_again"] == 0);
  CHECK(did(updated)["pairs"] == 0);
}

TEST_CASE("k beyond the number of rows, and rows that were all deleted", "[update]") {
  Growing growing(image_values(40), text_values(40));
  const MineOptions options = exact_options(100);
  HardPairs pairs = mine(growing.grow(30), options);
  EmbeddingStore store = growing.grow(40);
  pairs = update(pairs, store);
  check_fresh(pairs, store, options);
  std::vector<std::int64_t> every(40);
  std::iota(every.begin(), every.end(), 0);
  store = growing.grow(40, every);
  check_fresh(update(pairs, store), store, options);
}

TEST_CASE("update after update gives what one fresh run gives", "[update]") {
  const std::int64_t rows = 900;
  Growing growing(image_values(rows), text_values(rows));
  const MineOptions options = exact_options(5);
  HardPairs pairs = mine(growing.grow(500), options);
  const std::vector<std::pair<std::int64_t, std::vector<std::int64_t>>> steps{
      {580, {}}, {581, {2}}, {581, {580, 7}}, {700, {600, 20}}, {900, {}}};
  EmbeddingStore store = EmbeddingStore::open(growing.path());
  for (const auto& [size, deleted] : steps) {
    store = growing.grow(size, deleted);
    pairs = update(pairs, store);
    check_fresh(pairs, store, options);
  }
}

TEST_CASE("changes of several commits are caught up at once", "[update]") {
  Growing growing(image_values(700), text_values(700));
  const MineOptions options = exact_options(5);
  growing.grow(400, {5});
  const HardPairs pairs = mine(growing.grow(500, {6}), options);
  growing.grow(501, {7, 8});
  growing.grow(600);
  const EmbeddingStore store = growing.grow(640, {9, 630});
  const HardPairs updated = update(pairs, store);
  check_fresh(updated, store, options);
  CHECK(did(updated)["deleted"] == 4);
  CHECK(did(updated)["added"] == 140);
}

TEST_CASE("threads and memory change no byte", "[update]") {
  const std::int64_t rows = 2600;
  Growing growing(image_values(rows), text_values(rows));
  const MineOptions options = exact_options(10);
  const HardPairs pairs = mine(growing.grow(2500), options);
  const EmbeddingStore store = growing.grow(rows, {11, 12, 13});
  const std::string expected = table_of(mine(store, options));
  // The little memory makes bands of 576 old targets and puts the codes on disk.
  for (const auto& [threads, memory] : {std::pair(1, 0), std::pair(3, 400000)}) {
    const HardPairs updated = update(pairs, store, {threads, memory});
    CHECK_FALSE(did(updated).contains("afresh"));
    CHECK(table_of(updated) == expected);
  }
  const HardPairs afresh = update(pairs, store, {2, 1000});
  CHECK(did(afresh)["afresh"] == "memory is too low for the new pools");
  CHECK(table_of(afresh) == expected);
}

TEST_CASE("what cannot be brought up to date step by step is mined afresh", "[update]") {
  Growing growing(image_values(500), text_values(500));
  std::vector<MineOptions> all(2, exact_options(5));
  all[0].skip = 2;
  all[1].collapse = Collapse::image;
  const EmbeddingStore first = growing.grow(450);
  const std::vector<HardPairs> before{mine(first, all[0]), mine(first, all[1])};
  const EmbeddingStore store = growing.grow(500);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const HardPairs updated = update(before[i], store);
    check_fresh(updated, store, all[i]);
    CHECK(did(updated)["afresh"].get<std::string>().starts_with(i == 0 ? "skip" : "collapse"));
    CHECK(Json::parse(updated.origin().report_json).contains("drops"));
  }
}

TEST_CASE("the table is written to a new directory or in place of the old one", "[update]") {
  Growing growing(image_values(400), text_values(400));
  const MineOptions options = exact_options(5);
  mine(growing.grow(380), options, {}, growing.file("p"));
  const EmbeddingStore store = growing.grow(400);
  const HardPairs old = HardPairs::open(growing.file("p"));
  const std::string before = table_of(old);
  check_fresh(update(old, store, {}, {}, growing.file("q")), store, options);
  check_fresh(HardPairs::open(growing.file("q")), store, options);
  CHECK(HardPairs::open(growing.file("p")).size() == 380);

  check_fresh(update(old, store, {}, {}, growing.file("p")), store, options);
  const HardPairs now = HardPairs::open(growing.file("p"));
  check_fresh(now, store, options);
  now.verify();
  CHECK(table_of(old) == before);  // who has it open keeps it
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(growing.file("p"))) {
    names.insert(entry.path().filename().string());
  }
  CHECK(names == std::set<std::string>{".lock", "manifest.json", "shard-00001.safetensors"});

  SECTION("a table that is up to date is returned as it is") {
    CHECK(update(now, store).origin().report_json == now.origin().report_json);
    CHECK(table_of(update(now, store, {}, {}, growing.file("r"))) == table_of(now));
    CHECK(table_of(update(old, store, {}, {}, growing.file("p"))) == table_of(now));
  }
  SECTION("another table there is left alone") {
    MineOptions others = options;
    others.min_score = 0.2;
    mine(store, others, {}, growing.file("o"));
    expect_error(ErrorCode::invalid_argument, "another table",
                 [&] { update(old, store, {}, {}, growing.file("o")); });
    expect_error(ErrorCode::mismatch, "not a helip.hard_pairs",
                 [&] { update(old, store, {}, {}, growing.path()); });
  }
  SECTION("an update that is stopped leaves the old table") {
    const HardPairs last = HardPairs::open(growing.file("p"));
    Growing more(image_values(3000), text_values(3000));
    mine(more.grow(2500), options, {}, more.file("p"));
    const EmbeddingStore larger = more.grow(3000);
    expect_error(ErrorCode::cancelled, "", [&] {
      update(
          HardPairs::open(more.file("p")), larger, {},
          [](const Progress& state) { return state.stage != "update"; }, more.file("p"));
    });
    CHECK(HardPairs::open(more.file("p")).size() == 2500);
  }
}

TEST_CASE("rows that are added meet all others, as in a fresh run", "[update]") {
  Growing growing(image_values(900), text_values(900));
  MineOptions options = exact_options(8);
  const HardPairs pairs = mine(growing.grow(850), options);
  const EmbeddingStore store = growing.grow(900);
  CHECK(table_of(add_rows(pairs, store.image(), store.text(), options)) ==
        table_of(mine(store, options)));
  const MatrixView image = part_of(store.image(), 0, 50), text = part_of(store.text(), 0, 50);
  expect_error(ErrorCode::invalid_argument, "there are 50 rows, must be at least",
               [&] { (void)add_rows(pairs, image, text, options); });
  options.k = 7;
  expect_error(ErrorCode::invalid_argument, "k is 7, must be that of the pairs, 8",
               [&] { (void)add_rows(pairs, store.image(), store.text(), options); });
}

TEST_CASE("tables and stores that do not belong together are refused", "[update]") {
  Growing growing(image_values(300), text_values(300));
  const MineOptions options = exact_options(5);
  const EmbeddingStore first = growing.grow(280, {4});
  const HardPairs pairs = mine(first, options);
  const EmbeddingStore store = growing.grow(300);
  const auto refuse = [&](ErrorCode code, const std::string& part, const HardPairs& table,
                          const EmbeddingStore& with) {
    expect_error(code, part, [&] { update(table, with); });
  };
  Growing other(image_values(300, 7), text_values(300));
  refuse(ErrorCode::mismatch, "the embeddings, their dtype, or the deleted rows", pairs,
         other.grow(300, {4}));
  Growing kept(image_values(300), text_values(300));
  refuse(ErrorCode::mismatch, "deleted rows of its first 280 rows differ", pairs, kept.grow(300));
  Growing few(image_values(300), text_values(300));
  refuse(ErrorCode::mismatch, "the store has 100 rows, the table has 280", pairs, few.grow(100));
  const HardPairs bare = mine(first.image(), first.text(), options);
  refuse(ErrorCode::mismatch, "bare arrays", bare, store);
  MineOptions sample = options;
  sample.method = MiningMethod::sample;
  sample.candidates = 50;
  refuse(ErrorCode::unsupported, "mined with method 'sample'", mine(first, sample), store);
  HardPairs::Origin origin = pairs.origin();
  origin.options_json = R"({"method":"csv","k":5})";
  refuse(ErrorCode::unsupported, "which mining did not write",
         HardPairs::from_arrays(pairs.ids(), pairs.scores(), pairs.counts(), origin), store);
}
