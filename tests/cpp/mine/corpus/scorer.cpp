// Scores: the bits of the plain float64 definition, whichever row was loaded; and their bounds.
#include "mine/corpus/scorer.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr std::int64_t kRows = 40;
constexpr DType kDTypes[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16,
                             DType::int8};

Corpus corpus_of(const Data& data, const MineOptions& options = {}) {
  return {data.image.view(), data.text.view(), rules_of(options), select_kernel()};
}

}  // namespace

TEST_CASE("similarities have the bits of the plain definition, from either side", "[scorer]") {
  SilentTeam silent;
  for (const DType dtype : kDTypes) {
    INFO(name_of(dtype));
    const Data data = clustered_data(kRows, 37, 70, dtype);
    const PlainRows image(data.image.view()), text(data.text.view());
    for (const bool measured : {false, true}) {
      Corpus corpus = corpus_of(data);
      if (measured) corpus.measure(silent.team);
      Scorer scorer(corpus);
      std::mt19937 random(1);
      for (int i = 0; i < 2000; ++i) {  // rows that come again, and others
        const std::int64_t a = random() % 3 == 0 ? 5 : random() % kRows, b = random() % kRows;
        const ChannelSimilarities found = scorer.similarities(a, b);
        REQUIRE(found[0] == image.cosine(a, b));
        REQUIRE(found[1] == text.cosine(a, b));
      }
    }
  }
}

TEST_CASE("a row is compared with rows of another matrix and dtype as with its own", "[scorer]") {
  for (const DType dtype : kDTypes) {
    for (const DType other : kDTypes) {
      INFO(name_of(dtype) << " against " << name_of(other));
      const Data data = clustered_data(kRows, 70, 4, dtype);
      const Data others = clustered_data(kRows, 70, 4, other, 9);
      const PlainRows plain(data.image.view()), plain_others(others.image.view());
      const Rows rows("image", data.image.view(), select_kernel());
      const Rows other_rows("image", others.image.view(), select_kernel());
      LoadedRow loaded, buffer;
      for (std::int64_t i = 0; i < kRows; ++i) {
        rows.load(i, loaded);
        for (std::int64_t j = 0; j < 4; ++j) {
          REQUIRE(other_rows.cosine(loaded, j, buffer) == plain.cosine(i, plain_others, j));
        }
      }
    }
  }
}

TEST_CASE("rows of zeros and deleted rows have cosine 0 with every other", "[scorer]") {
  auto values = clustered_values(kRows, 8, 4, 0.5, 1);
  std::fill_n(values.begin(), 8, 0.0);
  const Data data{Matrix(values, kRows, 8, DType::float32),
                  Matrix(values, kRows, 8, DType::float32)};
  MatrixView image = data.image.view();
  std::vector<std::uint8_t> deleted(kRows);
  deleted[3] = 1;
  image.deleted = deleted.data();
  const Corpus corpus(image, data.text.view(), Rules(), select_kernel());
  Scorer scorer(corpus);
  REQUIRE(corpus.is_zero(0));
  REQUIRE(corpus.is_zero(3));
  REQUIRE_FALSE(corpus.is_zero(4));
  for (const std::int64_t row : {0, 3}) {
    REQUIRE(scorer.evaluate(row, 7).score == 0.0);
    REQUIRE(scorer.evaluate(7, row).score == 0.0);
  }
}

TEST_CASE("a near duplicate is one for both rows, a false negative for each by itself",
          "[scorer]") {
  // u₀ = v₀, u₁ at 60° from both, v₁ = u₀: the caption of 1 fits the image of 0 as its own does.
  const std::vector<double> image{1.0, 0.0, 0.5, 0.8660254037844386};
  const std::vector<double> text{1.0, 0.0, 1.0, 0.0};
  const Data data{Matrix(image, 2, 2, DType::float64), Matrix(text, 2, 2, DType::float64)};
  MineOptions options;
  options.text_max = 1.0;
  options.margin = 0.1;
  const Corpus corpus = corpus_of(data, options);
  Scorer scorer(corpus);
  const Evaluation evaluated = scorer.evaluate(0, 1);
  REQUIRE(evaluated.target == Verdict::margin);     // 1 > 1 - 0.1
  REQUIRE(evaluated.candidate == Verdict::margin);  // 1 > 0.5 - 0.1
  REQUIRE(evaluate({true, true, false, 0.4, 1.0}, {0.5, 0.9}).target == Verdict::image_duplicate);
  REQUIRE(evaluate({true, true, false, 1.0, 0.4}, {0.5, 0.9}).candidate == Verdict::text_duplicate);
}

TEST_CASE("two negative similarities multiply only where products are signed", "[scorer]") {
  Rules rules;
  REQUIRE(evaluate(rules, {-0.5, -0.5}).score == 0.0);
  rules.signed_products = true;
  REQUIRE(evaluate(rules, {-0.5, -0.5}).score == 0.25);
  REQUIRE(evaluate(rules, {-0.5, 0.5}).score == -0.25);
}

TEST_CASE("a value is rounded to the float32 next to it on either side", "[scorer]") {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  for (int i = 0; i < 10000; ++i) {
    const double value = normal(random);
    const float down = rounded_down(value), up = rounded_up(value);
    REQUIRE(static_cast<double>(down) <= value);
    REQUIRE(static_cast<double>(up) >= value);
    REQUIRE(static_cast<double>(std::nextafter(down, 10.0F)) > value);
    REQUIRE(static_cast<double>(std::nextafter(up, -10.0F)) < value);
  }
}

TEST_CASE("a float32 is rounded to itself", "[scorer]") {
  for (const float value : {0.0F, 0.1F, -0.98F, 1.0F, std::numeric_limits<float>::infinity()}) {
    REQUIRE(rounded_down(static_cast<double>(value)) == value);
    REQUIRE(rounded_up(static_cast<double>(value)) == value);
  }
}
