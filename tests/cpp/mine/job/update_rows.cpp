// What an update does with each row of a store that changed, and with codes that were kept.
#include "mine/job/update_rows.h"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

#include "helip/embedding_store_writer.h"
#include "helip/mine.h"
#include "helip/update.h"
#include "mine/corpus/corpus.h"
#include "support/growing_store.h"
#include "support/mine_reference.h"
#include "support/store_samples.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;
namespace fs = std::filesystem;

TEST_CASE("a row is new, or lost one of its pool, or meets the new rows alone", "[update_rows]") {
  const TemporaryFolder folder;
  auto writer = EmbeddingStoreWriter::create(folder / "s", helip::options());
  append(writer, rows_between(0, 40));
  writer.delete_rows({5});
  const EmbeddingStore before = writer.commit();
  const HardPairs pairs = mine(before, exact_options(3));
  append(writer, rows_between(40, 44));
  writer.delete_rows({7, 41});
  const EmbeddingStore store = writer.commit();

  const auto earlier = store.earlier_state(40, before.fingerprint());
  REQUIRE(earlier.has_value());
  const Outdated outdated = outdated_since(store, *earlier);
  REQUIRE(outdated.marks.size() == 44);
  REQUIRE(outdated.deleted == 2);
  REQUIRE(outdated.replaced == 0);
  REQUIRE(outdated.marks[7] == 1);
  REQUIRE(outdated.marks[5] == 0);  // it was deleted when the table was mined

  SilentTeam silent;
  Corpus corpus(store.image(), store.text(), Rules(), select_kernel());
  corpus.measure(silent.team);
  const RowRoles roles = sort_rows(corpus, pairs, outdated);
  for (const std::size_t row : {5, 7, 41}) REQUIRE(roles.of[row] == RowRole::none);
  for (const std::size_t row : {40, 42, 43}) REQUIRE(roles.of[row] == RowRole::added);
  std::int64_t stale = 0;
  for (std::int64_t row = 0; row < 40; ++row) {
    bool lost = false;
    for (std::int64_t rank = 0; rank < pairs.count(row); ++rank) lost |= pairs.id(row, rank) == 7;
    if (row == 5 || row == 7) continue;
    const bool full = pairs.count(row) == pairs.k();
    stale += lost && full ? 1 : 0;
    REQUIRE(roles.of[static_cast<std::size_t>(row)] ==
            (lost && full ? RowRole::stale : RowRole::kept));
  }
  REQUIRE(stale > 0);
  REQUIRE(roles[RowRole::stale] == stale);
  REQUIRE(roles[RowRole::kept] == 38 - stale);
}

TEST_CASE("an update goes on with kept codes of any earlier state", "[update]") {
  constexpr std::int64_t kRows = 7200;
  // The rows that come are not like those before: shorter and longer, and of other directions.
  auto image = image_values(kRows), text = text_values(kRows);
  const auto far = clustered_values(kRows, kImage, 3, 3.0, 77);
  for (std::int64_t row = 5500; row < kRows; ++row) {
    for (std::int64_t d = 0; d < kImage; ++d) {
      const auto at = static_cast<std::size_t>(row * kImage + d);
      if (row % 3 == 0) image[at] = 50.0 * far[at];
      if (row % 3 == 1) image[at] *= 1e-3;
    }
  }
  Growing growing(image, text);
  MineOptions options = exact_options(8);
  const fs::path codes = growing.file("codes");
  options.codes = codes;
  HardPairs pairs = mine(growing.grow(5500), options);
  options.codes.clear();
  const auto codes_file = [&] {
    for (const auto& entry : fs::directory_iterator(codes)) {
      if (entry.path().filename().string().starts_with("codes-")) return entry.path();
    }
    return fs::path();
  };
  const auto follow = [&](const EmbeddingStore& store, bool anew) {
    const fs::path before = codes_file();
    const HardPairs updated = update(pairs, store, {2, 0, codes});
    check_fresh(updated, store, options);
    CHECK_FALSE(did(updated).contains("afresh"));
    CHECK((codes_file() != before) == anew);
    pairs = updated;
  };
  follow(growing.grow(6000), false);
  // Too few rows for filters, and so for codes.
  follow(growing.grow(6020), false);
  const Data values{Matrix(image_values(90, 7), 90, kImage, DType::float32),
                    Matrix(text_values(90, 7), 90, kText, DType::float32)};
  std::vector<std::int64_t> changed(90);
  for (std::size_t i = 0; i < changed.size(); ++i)
    changed[i] = static_cast<std::int64_t>(i * 30 + 2);
  // It knows the state before alone, so that there are no codes to go on with.
  follow(growing.replace(changed, values), true);
  follow(growing.grow(6600, {0, 2, 7, 700, 6019, 6300}), false);
  follow(growing.grow(7000), true);  // an eighth is new to them

  // Codes of another modality, or none, are made anew.
  MineOptions of_images = exact_options(5);
  of_images.modality = Modality::image;
  of_images.codes = codes;
  const EmbeddingStore last = EmbeddingStore::open(growing.path());
  mine(last, of_images);
  of_images.codes.clear();
  CHECK_FALSE(codes_file().empty());
  const EmbeddingStore store = growing.grow(kRows);
  check_fresh(update(pairs, store, {2, 0, codes}), store, options);
  check_fresh(update(pairs, store, {2, 0, growing.file("others")}), store, options);
  CHECK(fs::exists(growing.file("others") / "manifest.json"));
}

TEST_CASE("kept codes serve an update of any rules, and one that mines afresh", "[update]") {
  constexpr std::int64_t kRows = 3200;
  std::vector<MineOptions> all(5, exact_options(6));
  all[1].signed_products = true;
  all[2].modality = Modality::text;
  all[3].min_score = 0.3;
  all[4].skip = 3;
  for (const DType dtype : {DType::float32, DType::int8}) {
    Growing growing(image_values(kRows), text_values(kRows), dtype);
    const EmbeddingStore first = growing.grow(3000);
    std::vector<HardPairs> before;
    for (std::size_t i = 0; i < all.size(); ++i) {
      MineOptions options = all[i];
      options.codes = growing.file("codes-of-" + std::to_string(i));
      before.push_back(mine(first, options));
    }
    const EmbeddingStore store = growing.grow(kRows, {5, 6, 3001});
    for (std::size_t i = 0; i < all.size(); ++i) {
      INFO("options " << i);
      for (const std::int64_t memory : {0, 1}) {
        // Codes that were made under other rules do as well.
        for (const std::size_t by : {i, all[i].modality == Modality::both ? std::size_t{0} : i}) {
          const HardPairs updated =
              update(before[i], store, {2, memory, growing.file("codes-of-" + std::to_string(by))});
          check_fresh(updated, store, all[i]);
          CHECK(did(updated).contains("afresh") == (all[i].skip > 0 || memory > 0));
        }
      }
    }
  }
}

TEST_CASE("an update takes no codes of another kernel", "[update]") {
  if (std::string(mining::select_kernel().name) == "portable") SKIP("there is no other kernel");
  Growing growing(image_values(3200), text_values(3200));
  MineOptions options = exact_options(6);
  options.codes = growing.file("codes");
  const EmbeddingStore first = growing.grow(3000);
  const HardPairs pairs = [&] {
    const ForcedKernel portable("portable");
    return mine(first, options);
  }();
  const EmbeddingStore store = growing.grow(3200);
  int loads = 0;
  const auto count = [&](const Progress& progress) {
    loads += progress.stage == "load" ? 1 : 0;
    return true;
  };
  const HardPairs updated = update(pairs, store, {2, 0, options.codes}, count);
  CHECK(loads == 0);
  options.codes.clear();
  check_fresh(updated, store, options);
  // Those that it kept in their place are taken.
  const EmbeddingStore last = growing.grow(3200, {1, 2, 3});
  check_fresh(update(updated, last, {2, 0, growing.file("codes")}, count), last, options);
}
