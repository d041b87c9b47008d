#include "helip/pair_index.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <numeric>

#include "support/expect_error.h"
#include "support/pair_index_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;

TEST_CASE("new pairs get the hard pairs of a plain search", "[pair_index]") {
  const Data data = data_of(2200);
  const PairIndex index = built(data, 2000);
  REQUIRE(index.size() == 2000);
  REQUIRE(recall(index, data, 2000, 2000, 2200, 10, 1e-6) > 0.99);
}

TEST_CASE("rows of other types are kept in float16", "[pair_index]") {
  for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16, DType::int8}) {
    const Data data = data_of(700, dtype);
    const PairIndex index = built(data, 600);
    INFO(name_of(dtype));
    REQUIRE(recall(index, data, 600, 600, 700, 10, 1e-3) > 0.98);
  }
}

TEST_CASE("matches are sorted, above zero, no near duplicates, and padded", "[pair_index]") {
  const Data data = data_of(300);
  const PairIndex index = built(data, 300, {.image_max = 0.5, .text_max = 0.6});
  const PairMatches found = index.query(data.image.view(), data.text.view(), 200, 300);
  for (std::int64_t q = 0; q < 300; ++q) {
    const std::int64_t count = found.counts[static_cast<std::size_t>(q)];
    REQUIRE(count < 200);
    for (std::int64_t r = 0; r < 200; ++r) {
      const auto at = static_cast<std::size_t>(q * 200 + r);
      if (r >= count) {
        REQUIRE(found.ids[at] == -1);
        REQUIRE(found.scores[at] == 0.0F);
        continue;
      }
      REQUIRE(found.ids[at] != q);
      REQUIRE(found.scores[at] > 0.0F);
      REQUIRE(found.scores[at] <= 0.3F);
      if (r > 0) REQUIRE(found.scores[at] <= found.scores[at - 1]);
    }
  }
}

TEST_CASE("threads change neither the index nor the matches", "[pair_index]") {
  const Data data = data_of(900);
  const TemporaryFolder folder;
  const PairIndex one = PairIndex::build(data.image.view(), data.text.view(), {}, {}, 1);
  const PairIndex four = PairIndex::build(data.image.view(), data.text.view(), {}, {}, 4);
  REQUIRE(same(one.query(data.image.view(), data.text.view(), 7, 0, 1),
               four.query(data.image.view(), data.text.view(), 7, 0, 3)));
}

TEST_CASE("a saved index answers as the one that was saved", "[pair_index]") {
  const Data data = data_of(800);
  const TemporaryFolder folder;
  PairIndex index = built(data, 700, {.image_max = 0.9, .text_max = 0.95, .degree = 16, .seed = 5});
  index.save(folder / "index");
  PairIndex opened = PairIndex::open(folder / "index");
  REQUIRE(opened.size() == 700);
  REQUIRE(opened.image_dimensions() == kImage);
  REQUIRE(opened.text_dimensions() == kText);
  REQUIRE(opened.options().image_max == 0.9);
  REQUIRE(opened.options().text_max == 0.95);
  REQUIRE(opened.options().degree == 16);
  REQUIRE(opened.options().seed == 5);
  REQUIRE(opened.bytes() == index.bytes());
  const auto ask = [&](const PairIndex& of) {
    return of.query(part_of(data.image, 700, 800), part_of(data.text, 700, 800), 10);
  };
  REQUIRE(same(ask(index), ask(opened)));

  // Both go on alike.
  for (PairIndex* each : {&index, &opened}) {
    each->add(part_of(data.image, 700, 800), part_of(data.text, 700, 800));
  }
  REQUIRE(opened.size() == 800);
  REQUIRE(same(ask(index), ask(opened)));
  opened.save(folder / "grown");
  REQUIRE(same(ask(index), ask(PairIndex::open(folder / "grown"))));
  expect_error(ErrorCode::invalid_argument, "index", [&] { opened.save(folder / "index"); });
}

TEST_CASE("pairs that were added are found, and find", "[pair_index]") {
  const Data data = data_of(2200);
  PairIndex index = built(data, 500);
  index.add(part_of(data.image, 500, 501), part_of(data.text, 500, 501));
  index.add(part_of(data.image, 501, 2000), part_of(data.text, 501, 2000), {}, 2);
  index.add(part_of(data.image, 0, 0), part_of(data.text, 0, 0));
  REQUIRE(index.size() == 2000);
  REQUIRE(recall(index, data, 2000, 2000, 2200, 10, 1e-6) > 0.99);
}

TEST_CASE("an index may begin empty", "[pair_index]") {
  const Data data = data_of(100);
  PairIndex index = built(data, 0);
  const auto ask = [&] {
    return index.query(part_of(data.image, 90, 100), part_of(data.text, 90, 100), 3);
  };
  REQUIRE(ask().counts == std::vector<std::int32_t>(10, 0));
  const TemporaryFolder folder;
  index.save(folder / "empty");
  REQUIRE(PairIndex::open(folder / "empty").size() == 0);
  for (std::int64_t row = 0; row < 90; ++row) {
    index.add(part_of(data.image, row, row + 1), part_of(data.text, row, row + 1));
  }
  REQUIRE(recall(index, data, 90, 90, 100, 3, 1e-6) == 1.0);
}

TEST_CASE("ids are the caller's, or go on from the greatest", "[pair_index]") {
  const Data data = data_of(60);
  std::vector<std::int64_t> ids;
  for (std::int64_t row = 0; row < 40; ++row) ids.push_back((std::int64_t{1} << 40) - 10 * row);
  PairIndex index =
      PairIndex::build(part_of(data.image, 0, 40), part_of(data.text, 0, 40), {}, ids);
  index.add(part_of(data.image, 40, 50), part_of(data.text, 40, 50));
  const PairMatches found =
      index.query(part_of(data.image, 50, 60), part_of(data.text, 50, 60), 4, 60);
  for (std::int64_t q = 0; q < 10; ++q) {
    const auto exact = plain_matches(data, 50, 50 + q, 4);
    for (std::size_t r = 0; r < exact.size(); ++r) {
      const std::int64_t row = exact[r].id;
      REQUIRE(found.ids[static_cast<std::size_t>(q) * 4 + r] ==
              (row < 40 ? ids[static_cast<std::size_t>(row)] : (std::int64_t{1} << 40) + row - 39));
    }
  }
}

TEST_CASE("ids end where none could follow", "[pair_index]") {
  const Data data = data_of(3);
  const auto add = [&](PairIndex& index, std::int64_t row, const std::vector<std::int64_t>& ids) {
    index.add(part_of(data.image, row, row + 1), part_of(data.text, row, row + 1), ids);
  };
  PairIndex index = built(data, 1);
  expect_error(ErrorCode::invalid_argument, "id 9223372036854775807 of row 0 is too large",
               [&] { add(index, 1, {INT64_MAX}); });
  add(index, 1, {INT64_MAX - 1});
  expect_error(ErrorCode::invalid_argument, "the next of 1 ids would be 9223372036854775807",
               [&] { add(index, 2, {}); });
  add(index, 2, {7});
  REQUIRE(index.size() == 3);
}

TEST_CASE("every pair is compared where that is asked for", "[pair_index]") {
  // At random, so that links lead to few of the best.
  const Data data = clustered_data(4000, 128, 96, DType::float16, 3, 4000, 0.8);
  PairIndex index = built(data, 3900);
  std::vector<std::int64_t> gone(500);
  std::iota(gone.begin(), gone.end(), 3400);
  index.remove(gone);
  const auto hits = [&](std::int64_t breadth) {
    const PairMatches found = index.query(part_of(data.image, 3900, 3930),
                                          part_of(data.text, 3900, 3930), 10, breadth, 1);
    std::int64_t count = 0;
    for (std::int64_t q = 0; q < 30; ++q) {
      const auto exact = plain_matches(data, 3400, 3900 + q, 10);
      for (std::size_t r = 0; r < 10; ++r) {
        count += found.ids[static_cast<std::size_t>(q) * 10 + r] == exact[r].id ? 1 : 0;
      }
    }
    return count;
  };
  REQUIRE(hits(0) < 200);
  REQUIRE(hits(PairIndex::kEveryPair) == 300);
  const PairMatches near = index.near({5, 7}, 10, PairIndex::kEveryPair);
  REQUIRE(near.ids[0] == plain_matches(data, 3400, 5, 1)[0].id);

  std::vector<std::int64_t> ids = index.ids();
  std::sort(ids.begin(), ids.end());
  std::vector<std::int64_t> there(3400);
  std::iota(there.begin(), there.end(), 0);
  REQUIRE(ids == there);
  expect_error(ErrorCode::invalid_argument, "breadth", [&] { (void)index.near({5}, 10, -2); });
}

TEST_CASE("a filter leaves out, and the search goes on until it has enough", "[pair_index]") {
  const Data data = data_of(2100);
  const PairIndex index = built(data, 2000);
  const MatrixView image = part_of(data.image, 2000, 2100), text = part_of(data.text, 2000, 2100);
  for (const std::int64_t share : {2, 50, 400}) {
    const PairMatches found = index.query(image, text, 10, 64, 2, {},
                                          [share](std::int64_t id) { return id % share == 1; });
    std::int64_t hits = 0, wanted = 0;
    for (std::int64_t q = 0; q < 100; ++q) {
      std::vector<Plain> exact = plain_matches(data, 2000, 2000 + q, 2000);
      std::erase_if(exact, [share](const Plain& match) { return match.id % share != 1; });
      exact.resize(std::min<std::size_t>(exact.size(), 10));
      wanted += static_cast<std::int64_t>(exact.size());
      REQUIRE(found.counts[static_cast<std::size_t>(q)] <= static_cast<std::int32_t>(exact.size()));
      for (const Plain& match : exact) {
        const auto row = found.ids.begin() + q * 10;
        hits += std::find(row, row + 10, match.id) == row + 10 ? 0 : 1;
      }
    }
    INFO(share);
    // Of few none is missed.
    REQUIRE(static_cast<double>(hits) >= (share == 2 ? 0.97 : 1.0) * static_cast<double>(wanted));
  }
}

TEST_CASE("pairs of the index are asked for by their ids", "[pair_index]") {
  const Data data = data_of(1000);
  const PairIndex index = built(data, 1000);
  std::vector<std::int64_t> ids(100);
  std::iota(ids.begin(), ids.end(), 300);
  const PairMatches one = index.near(ids, 7);
  REQUIRE(same(one, index.query(part_of(data.image, 300, 400), part_of(data.text, 300, 400), 7)));
  const PairIndex whole = built(data, 1000, {.image_max = 1.0, .text_max = 1.0});
  const PairMatches found = whole.near(ids, 7);
  REQUIRE(found.k == 7);
  for (std::size_t i = 0; i < found.ids.size(); ++i) REQUIRE(found.ids[i] != ids[i / 7]);
  expect_error(ErrorCode::invalid_argument, "id 1000, number 1 of those given, is not in",
               [&] { return index.near({5, 1000}, 7); });
}

TEST_CASE("a filter may ask another index", "[pair_index]") {
  const Data data = data_of(700);
  const PairIndex index = built(data, 600), other = built(data, 300);
  const MatrixView image = part_of(data.image, 600, 620), text = part_of(data.text, 600, 620);
  const PairFilter odd = [](std::int64_t id) { return id % 2 == 1; };
  const PairFilter asks = [&](std::int64_t id) {
    static_cast<void>(
        other.query(part_of(data.image, id, id + 1), part_of(data.text, id, id + 1), 3, 0, 1));
    return odd(id);
  };
  REQUIRE(same(index.query(image, text, 5, 0, 2, {}, asks),
               index.query(image, text, 5, 0, 2, {}, odd)));
}

TEST_CASE("each pair is found where all were removed and added again", "[pair_index]") {
  const std::int64_t rows = 4000;
  const Data data = data_of(rows);
  PairIndex index = built(data, rows, {.image_max = 1.0, .text_max = 1.0});
  std::vector<std::int64_t> ids(static_cast<std::size_t>(rows));
  std::iota(ids.begin(), ids.end(), 0);
  index.remove(ids);
  REQUIRE(index.size() == 0);
  index.add(data.image.view(), data.text.view(), ids);
  const PairMatches found = index.query(data.image.view(), data.text.view(), 1);
  for (std::size_t i = 0; i < ids.size(); ++i) REQUIRE(found.ids[i] == ids[i]);
}

TEST_CASE("rows of zeros count, but are never found, and find nothing", "[pair_index]") {
  std::vector<double> image = clustered_values(50, kImage, 5, 0.7, 1);
  const std::vector<double> text = clustered_values(50, kText, 5, 0.7, 2);
  std::fill_n(image.begin() + 7 * kImage, kImage, 0.0);
  const Data data{Matrix(image, 50, kImage, DType::float32),
                  Matrix(text, 50, kText, DType::float32)};
  const PairIndex index = built(data, 50);
  REQUIRE(index.size() == 50);
  const PairMatches found = index.query(data.image.view(), data.text.view(), 50);
  REQUIRE(found.counts[7] == 0);
  REQUIRE(std::count(found.ids.begin(), found.ids.end(), 7) == 0);
}

TEST_CASE("what cannot be is refused, and leaves the index as it was", "[pair_index]") {
  const Data data = data_of(50);
  PairIndex index = built(data, 40);
  const MatrixView image = part_of(data.image, 40, 50), text = part_of(data.text, 40, 50);
  const auto refused = [](const std::string& part, const auto& call) {
    expect_error(ErrorCode::invalid_argument, part, call);
  };
  refused("k is 0", [&] { return index.query(image, text, 0); });
  refused("breadth is 3, but must lie in 5", [&] { return index.query(image, text, 5, 3); });
  refused("threads is -1", [&] { return index.query(image, text, 5, 0, -1); });
  refused("image embeddings have 24 dimensions", [&] { return index.query(text, text, 5); });
  refused("text embeddings have 40 dimensions", [&] { return index.query(image, image, 5); });
  refused("10 rows and text embeddings have 3",
          [&] { return index.query(image, part_of(data.text, 0, 3), 5); });
  refused("2 ids were given for 10 pairs", [&] { index.add(image, text, {50, 51}); });
  refused("id 39 of row 1 is in the index already",
          [&] { index.add(image, text, {50, 39, 51, 52, 53, 54, 55, 56, 57, 58}); });
  refused("id 50 is that of row 0 and of row 9",
          [&] { index.add(image, text, {50, 41, 51, 52, 53, 54, 55, 56, 57, 50}); });
  refused("id -4 of row 2 is negative",
          [&] { index.add(image, text, {50, 41, -4, 52, 53, 54, 55, 56, 57, 58}); });
  refused("no ids were given for 10 pairs", [&] { index.replace(image, text, {}); });
  refused("k is 65536, but must lie in 1 .. 65535", [&] { return index.near({1}, 65536); });
  refused("breadth is 3, but must lie in 5", [&] { return index.near({1}, 5, 3); });
  refused("degree is 2", [&] { built(data, 40, {.degree = 2}); });
  refused("image_max is 1.5", [&] { built(data, 40, {.image_max = 1.5}); });

  std::vector<double> bad = clustered_values(10, kImage, 5, 0.7, 1);
  bad[3 * kImage + 5] = std::numeric_limits<double>::quiet_NaN();
  const Matrix broken(bad, 10, kImage, DType::float32);
  refused("image embedding of row 3", [&] { return index.query(broken.view(), text, 5); });
  refused("image embedding of row 3", [&] { index.add(broken.view(), text); });
  refused("image embedding of row 3", [&] { return PairIndex::build(broken.view(), text); });
  REQUIRE(index.size() == 40);
  REQUIRE(recall(index, data, 40, 40, 50, 5, 1e-6) == 1.0);
}

TEST_CASE("an index that was moved from is empty and refuses to answer", "[pair_index]") {
  const Data data = clustered_data(40, 6, 4);
  PairIndex index = PairIndex::build(data.image.view(), data.text.view());
  const PairIndex other = std::move(index);
  REQUIRE(other.size() == 40);
  REQUIRE(index.size() == 0);  // NOLINT(bugprone-use-after-move)
  REQUIRE(index.image_dimensions() == 0);
  REQUIRE(index.bytes() == 0);
  REQUIRE(index.options().degree == PairIndexOptions{}.degree);
  expect_error(ErrorCode::invalid_argument, "moved from",
               [&] { static_cast<void>(index.query(data.image.view(), data.text.view(), 1)); });
  expect_error(ErrorCode::invalid_argument, "moved from",
               [&] { index.add(data.image.view(), data.text.view()); });
}

TEST_CASE("every long call on an index stops where its callback says so", "[pair_index]") {
  const TemporaryFolder folder;
  const Data data = clustered_data(400, 6, 4);
  const MatrixView image = data.image.view(), text = data.text.view();
  PairIndex index = PairIndex::build(image, text);
  const ProgressCallback stop = [](const Progress&) { return false; };
  expect_error(ErrorCode::cancelled, "save", [&] { index.save(folder / "p", stop); });
  REQUIRE_FALSE(std::filesystem::exists(folder / "p" / "manifest.json"));
  index.save(folder / "q");
  expect_error(ErrorCode::cancelled, "open",
               [&] { static_cast<void>(PairIndex::open(folder / "q", stop)); });
  expect_error(ErrorCode::cancelled, "query",
               [&] { static_cast<void>(index.query(image, text, 1, 0, 2, stop)); });
  expect_error(ErrorCode::cancelled, "check", [&] { index.add(image, text, {}, 2, stop); });
  // At the very end, too.
  const ProgressCallback last = [](const Progress& told) {
    return told.stage != "build" || told.done < told.total;
  };
  std::vector<std::int64_t> ids(400);
  std::iota(ids.begin(), ids.end(), 1000);
  expect_error(ErrorCode::cancelled, "build", [&] { index.add(image, text, ids, 2, last); });
  REQUIRE(index.size() == 400);
  const PairMatches found = index.query(image, text, 300);
  REQUIRE(*std::max_element(found.ids.begin(), found.ids.end()) < 400);
  index.add(image, text, ids);
  REQUIRE(index.size() == 800);
  const ProgressCallback go_on = [](const Progress&) { return true; };
  REQUIRE(PairIndex::open(folder / "q", go_on).size() == 400);
}
