// Queries are mined in a corpus as a plain float64 search does it, whatever the dtypes of both.
#include "helip/mine_negatives.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>

#include "helip/embedding_store_writer.h"
#include "helip/parts.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;

namespace {

constexpr std::int64_t kQueries = 200;
constexpr std::int64_t kRows = 900;
constexpr double kMargin = 0.1;

// Queries and corpus lie about the same centres; two positives of each query.
struct Sample {
  explicit Sample(DType query_dtype, DType corpus_dtype) {
    const auto rows_of = [&](std::int64_t cols, unsigned seed, Matrix& queries, Matrix& corpus) {
      const auto all = clustered_values(kQueries + kRows, cols, 20, 0.7, seed);
      const auto middle = all.begin() + static_cast<std::ptrdiff_t>(kQueries * cols);
      queries = Matrix({all.begin(), middle}, kQueries, cols, query_dtype);
      corpus = Matrix({middle, all.end()}, kRows, cols, corpus_dtype);
    };
    rows_of(24, 1, query_image, corpus_image);
    rows_of(17, 2, query_text, corpus_text);
    for (std::int64_t query = 0; query <= kQueries; ++query) begins.push_back(2 * query);
    for (std::int64_t i = 0; i < 2 * kQueries; ++i) positives.push_back(i * 7 % kRows);
  }

  NegativesInput input() const {
    NegativesInput made;
    made.query_image = query_image.view();
    made.query_text = query_text.view();
    made.corpus_image = corpus_image.view();
    made.corpus_text = corpus_text.view();
    made.positives = {begins, positives};
    made.relative_margin = kMargin;
    return made;
  }

  Matrix query_image, query_text, corpus_image, corpus_text;
  std::vector<std::int64_t> begins, positives;
};

}  // namespace

TEST_CASE("hard negatives are those of a plain search", "[negatives]") {
  const auto [left, right] =
      GENERATE(std::pair{DType::float32, DType::float32}, std::pair{DType::float16, DType::int8},
               std::pair{DType::float64, DType::float32});
  const Sample sample(left, right);
  MineOptions options = exact_options(7);
  options.image_max = 0.8;
  options.memory = GENERATE(0, 1);
  const NegativesInput input = sample.input();
  const HardNegatives found = mine_negatives(input, options);
  REQUIRE(found.size() == kQueries);
  REQUIRE(found.corpus_size() == kRows);

  const PlainRows rows[] = {PlainRows(input.query_image), PlainRows(input.corpus_image),
                            PlainRows(input.query_text), PlainRows(input.corpus_text)};
  for (std::int64_t query = 0; query < kQueries; query += 3) {
    const std::int64_t own[] = {sample.positives[static_cast<std::size_t>(2 * query)],
                                sample.positives[static_cast<std::size_t>(2 * query + 1)]};
    const auto image = [&](std::int64_t row) { return rows[0].cosine(query, rows[1], row); };
    const auto text = [&](std::int64_t row) { return rows[2].cosine(query, rows[3], row); };
    const auto score = [&](std::int64_t row) {
      return std::max(image(row), 0.0) * std::max(text(row), 0.0);
    };
    const double most = std::min(score(own[0]), score(own[1])) * (1.0 - kMargin);
    std::vector<PlainPair> pool;
    for (std::int64_t row = 0; row < kRows; ++row) {
      if (row == own[0] || row == own[1] || image(row) > 0.8 || text(row) > 0.98) continue;
      if (score(row) <= 0.0 || score(row) > most) continue;
      if (std::any_of(own, own + 2, [&](std::int64_t positive) {
            return rows[1].cosine(positive, row) > 0.8 || rows[3].cosine(positive, row) > 0.98;
          })) {
        continue;
      }
      pool.push_back({score(row), row});
    }
    std::sort(pool.begin(), pool.end(), plain_before);
    const auto count = std::min<std::int64_t>(7, static_cast<std::int64_t>(pool.size()));
    REQUIRE(*static_cast<const std::int32_t*>(found.counts().row(query)) == count);
    for (std::int64_t rank = 0; rank < count; ++rank) {
      REQUIRE(static_cast<const std::int32_t*>(found.ids().row(query))[rank] ==
              pool[static_cast<std::size_t>(rank)].id);
      REQUIRE(static_cast<const float*>(found.scores().row(query))[rank] ==
              static_cast<float>(pool[static_cast<std::size_t>(rank)].score));
    }
  }
}

TEST_CASE("equal queries share their positives, whatever the dtype", "[negatives]") {
  const DType dtype = GENERATE(DType::float32, DType::bfloat16, DType::int8);
  const auto all = clustered_values(4 + kRows, 24, 20, 0.7, 1);
  // Queries 0 and 2 are equal; 1 and 3 are zeros, which are equal to nothing.
  std::vector<double> queries(4 * 24, 0.0);
  for (std::size_t j = 0; j < 24; ++j) queries[j] = queries[2 * 24 + j] = all[j];
  const Matrix query_text(queries, 4, 24, dtype);
  const Matrix corpus_text({all.begin() + 4 * 24, all.end()}, kRows, 24, dtype);
  NegativesInput input;
  input.query_text = query_text.view();
  input.corpus_text = corpus_text.view();
  MineOptions options = exact_options(5);
  options.modality = Modality::text;
  const auto ids = [&](std::int64_t query) {
    const HardNegatives found = mine_negatives(input, options);
    const auto* row = static_cast<const std::int32_t*>(found.ids().row(query));
    return std::vector<std::int32_t>(row, row + 5);
  };
  const std::vector<std::int32_t> best = ids(0);
  const std::vector<std::int64_t> begins{0, 1, 2, 3, 4};
  const std::vector<std::int64_t> positives{best[0], best[1], best[2], best[3]};
  input.positives = {begins, positives};
  for (const std::int64_t query : {0, 2}) {
    const std::vector<std::int32_t> mined = ids(query);
    REQUIRE(std::count(mined.begin(), mined.end(), best[0]) == 0);
    REQUIRE(std::count(mined.begin(), mined.end(), best[2]) == 0);
  }
  const HardNegatives found = mine_negatives(input, options);
  REQUIRE(found.origin().report_json.find("\"equal_queries\":2") != std::string::npos);
}

TEST_CASE("positives that are not there are refused before anything is mined", "[negatives]") {
  const Sample sample(DType::float32, DType::float32);
  NegativesInput input = sample.input();
  std::vector<std::int64_t> positives = sample.positives;
  positives[5] = kRows;
  input.positives.rows = positives;
  expect_error(ErrorCode::invalid_argument, "query 2 has the positive 900",
               [&] { (void)mine_negatives(input, exact_options(3)); });
  std::vector<std::int64_t> begins = sample.begins;
  begins[4] = begins[5];
  input = sample.input();
  input.positives.begins = begins;
  expect_error(ErrorCode::invalid_argument, "query 4 has no positive",
               [&] { (void)mine_negatives(input, exact_options(3)); });
  begins = sample.begins;
  begins.back() = 3;
  input.positives.begins = begins;
  expect_error(ErrorCode::invalid_argument, "positives have 201 begins for 200 queries",
               [&] { (void)mine_negatives(input, exact_options(3)); });
  input = sample.input();
  input.query_text = input.query_image;
  expect_error(ErrorCode::invalid_argument,
               "text embeddings of queries have 24 dimensions, those of the corpus 17",
               [&] { (void)mine_negatives(input, exact_options(3)); });
}

TEST_CASE("parts of hard negatives are merged to hard negatives alone", "[negatives]") {
  const TemporaryFolder folder;
  const Sample sample(DType::float32, DType::float32);
  const auto store_of = [&](const char* name, const Matrix& image, const Matrix& text) {
    auto writer = EmbeddingStoreWriter::create(
        folder / name, {image.view().cols, text.view().cols, DType::float32, 4096});
    std::vector<std::string> keys;
    for (std::int64_t i = 0; i < image.view().rows; ++i) keys.push_back(std::to_string(i));
    writer.append(keys, image.view(), text.view());
    return writer.commit();
  };
  const EmbeddingStore queries = store_of("q", sample.query_image, sample.query_text);
  const EmbeddingStore corpus = store_of("c", sample.corpus_image, sample.corpus_text);
  NegativesInput input = NegativesInput::of(queries, corpus);
  input.positives = {sample.begins, sample.positives};
  const MineOptions options = exact_options(4);
  std::vector<std::filesystem::path> parts;
  for (std::int64_t index = 1; index <= 3; ++index) {
    parts.push_back(folder / std::to_string(index));
    REQUIRE(mine_negatives_part(input, index, 3, options, parts.back()).corpus_size() == kRows);
  }
  const HardNegatives whole = mine_negatives(input, options);
  const HardNegatives merged = merge_negatives_parts(parts, folder / "m");
  REQUIRE(std::memcmp(merged.ids().data, whole.ids().data, kQueries * 4 * 4) == 0);
  REQUIRE(HardNegatives::open(folder / "m").corpus_size() == kRows);
  expect_error(ErrorCode::mismatch, "is a part of hard negatives of queries",
               [&] { (void)merge_parts(parts, {}); });
  expect_error(ErrorCode::mismatch, "is a helip.hard_negatives, not a helip.hard_pairs",
               [&] { (void)HardPairs::open(folder / "m"); });
  input.corpus = nullptr;
  expect_error(ErrorCode::invalid_argument, "bare arrays have no fingerprint",
               [&] { (void)mine_negatives_part(input, 1, 3, options, folder / "x"); });
}

TEST_CASE("a positive with one of its modalities keeps out what is alike in that one",
          "[negatives]") {
  // Seeds must not count what only the exact cosines know.
  const std::int64_t queries = 80, rows = 6000, cols = 64;
  std::vector<double> image = clustered_values(queries + rows, cols, 20, 0.7, 1);
  std::vector<double> text = clustered_values(queries + rows, cols, 20, 0.7, 2);
  std::vector<std::int64_t> begins{0}, positives;
  for (std::int64_t query = 0; query < queries; ++query) {
    const std::int64_t positive = query * 60;
    // The positive has no image; the sixty rows after it have its text, and look like the query.
    const auto at = [&](std::int64_t row) { return (queries + row) * cols; };
    std::fill_n(image.begin() + at(positive), cols, 0.0);
    for (std::int64_t row = positive + 1; row < positive + 60; ++row) {
      std::copy_n(text.begin() + at(positive), cols, text.begin() + at(row));
      std::copy_n(image.begin() + query * cols, cols, image.begin() + at(row));
      image[static_cast<std::size_t>(at(row))] += 3.0;
    }
    positives.push_back(positive);
    begins.push_back(query + 1);
  }
  const auto split = [&](const std::vector<double>& all, Matrix& left, Matrix& right) {
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(queries * cols);
    left = Matrix({all.begin(), middle}, queries, cols, DType::float32);
    right = Matrix({middle, all.end()}, rows, cols, DType::float32);
  };
  Matrix query_image, query_text, corpus_image, corpus_text;
  split(image, query_image, corpus_image);
  split(text, query_text, corpus_text);
  NegativesInput input;
  input.query_image = query_image.view();
  input.query_text = query_text.view();
  input.corpus_image = corpus_image.view();
  input.corpus_text = corpus_text.view();
  input.positives = {begins, positives};
  MineOptions options = exact_options(20);
  options.image_max = 1.0;
  const HardNegatives found = mine_negatives(input, options);
  for (std::int64_t query = 0; query < queries; query += 7) {
    NegativesInput one = input;  // fewer than pass filters: every pair is scored
    one.query_image.rows = one.query_text.rows = 1;
    one.query_image.data = input.query_image.row(query);
    one.query_text.data = input.query_text.row(query);
    const std::int64_t own[] = {0, 1};
    one.positives = {own, std::span(positives).subspan(static_cast<std::size_t>(query), 1)};
    const HardNegatives alone = mine_negatives(one, options);
    REQUIRE(std::memcmp(found.ids().row(query), alone.ids().data, 20 * 4) == 0);
    REQUIRE(*static_cast<const std::int32_t*>(found.counts().row(query)) ==
            *static_cast<const std::int32_t*>(alone.counts().data));
  }
}
