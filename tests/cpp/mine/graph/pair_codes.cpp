#include "mine/graph/pair_codes.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>

#include "base/aligned.h"
#include "mine/corpus/scorer.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr std::int64_t kRows = 13;
constexpr float kNoThreshold = -std::numeric_limits<float>::infinity();

// Rows of a data set as codes, by one kernel.
struct CodedRows {
  CodedRows(const Data& data, bool signed_products, const Kernel& kernel)
      : corpus(data.image.view(), data.text.view(), rules(signed_products), kernel),
        codec(corpus.image_dimensions(), corpus.text_dimensions(), signed_products, kernel),
        codes(allocate_aligned<std::int8_t>(kRows * codec.bytes())) {
    PairCodec::Buffers buffers;
    for (std::int64_t row = 0; row < kRows; ++row) {
      codec.encode(corpus, row, buffers, codes.get() + row * codec.bytes());
      rows.push_back(codes.get() + row * codec.bytes());
    }
  }
  static Rules rules(bool signed_products) {
    Rules rules;
    rules.signed_products = signed_products;
    return rules;
  }
  // Row 0 against all.
  const PairCodec::Compared& compare(const PairCodec& by, float threshold = kNoThreshold) {
    by.compare(rows[0], rows.data(), kRows, &threshold, 0, compared);
    return compared;
  }

  Corpus corpus;
  PairCodec codec;
  AlignedArray<std::int8_t> codes;
  std::vector<const std::int8_t*> rows;
  PairCodec::Compared compared;
};

Data data_of(std::int64_t image, std::int64_t text) {
  return {Matrix(clustered_values(kRows, image, 4, 0.6, 1), kRows, image, DType::float32),
          Matrix(clustered_values(kRows, text, 4, 0.6, 2), kRows, text, DType::float32)};
}

}  // namespace

TEST_CASE("cosines of codes are those of the rows, but for the rounding", "[pair_codes]") {
  for (const auto& [image, text] : {std::pair{200, 96}, std::pair{96, 200}, std::pair{64, 64}}) {
    const Data data = data_of(image, text);
    for (const Kernel* kernel : available_kernels()) {
      INFO(kernel->name << ", " << image << " and " << text);
      CodedRows coded(data, false, *kernel);
      const auto& found = coded.compare(coded.codec);
      Scorer scorer(coded.corpus);
      for (std::int64_t row = 1; row < kRows; ++row) {
        const auto i = static_cast<std::size_t>(row);
        const ChannelSimilarities exact = scorer.similarities(0, row);
        REQUIRE(std::abs(found.image[i] - exact[0]) < 0.005);
        REQUIRE(std::abs(found.text[i] - exact[1]) < 0.005);
      }
    }
  }
}

TEST_CASE("every kernel compares codes to the same bits", "[pair_codes]") {
  const Data data = data_of(200, 96);
  CodedRows coded(data, false, *kernel_portable());
  const std::vector<float> wanted = coded.compare(coded.codec).similarity;
  for (const Kernel* kernel : available_kernels()) {
    INFO(kernel->name);
    const PairCodec codec(200, 96, false, *kernel);
    REQUIRE(coded.compare(codec).similarity == wanted);
  }
}

TEST_CASE("the similarity is the product where no cosine is negative, else the lesser cosine",
          "[pair_codes]") {
  const Data data = data_of(96, 40);
  CodedRows clamped(data, false, select_kernel());
  CodedRows negative(data, true, select_kernel());
  const auto& found = clamped.compare(clamped.codec);
  const auto& product = negative.compare(negative.codec);
  int below = 0;
  for (std::size_t i = 0; i < kRows; ++i) {
    const float image = found.image[i], text = found.text[i];
    const bool least = image <= 0.0F || text <= 0.0F;
    below += least;
    REQUIRE(found.similarity[i] == (least ? std::min(image, text) : image * text));
    REQUIRE(product.similarity[i] == product.image[i] * product.text[i]);
  }
  REQUIRE(below > 0);
  REQUIRE(below < kRows - 1);
}

TEST_CASE("what reaches a threshold is compared as without one, and nothing else reaches it",
          "[pair_codes]") {
  const Data data = data_of(200, 96);
  CodedRows coded(data, false, select_kernel());
  const std::vector<float> wanted = coded.compare(coded.codec).similarity;
  for (const float threshold : {-0.5F, 0.0F, 0.3F, 0.9F}) {
    const auto& found = coded.compare(coded.codec, threshold);
    for (std::size_t i = 0; i < kRows; ++i) {
      if (wanted[i] > threshold) {
        REQUIRE(found.similarity[i] == wanted[i]);
      } else {
        REQUIRE(found.similarity[i] <= threshold);
      }
    }
  }
}

TEST_CASE("a modality that is not used has the similarity 1", "[pair_codes]") {
  const Data data = data_of(96, 40);
  Rules rules;
  rules.use_image = false;
  const Corpus corpus(data.image.view(), data.text.view(), rules, select_kernel());
  const PairCodec codec(0, 40, false, select_kernel());
  const auto codes = allocate_aligned<std::int8_t>(2 * codec.bytes());
  PairCodec::Buffers buffers;
  for (const std::int64_t row : {0, 1}) {
    codec.encode(corpus, row, buffers, codes.get() + row * codec.bytes());
  }
  const std::int8_t* other = codes.get() + codec.bytes();
  PairCodec::Compared compared;
  codec.compare(codes.get(), &other, 1, &kNoThreshold, 0, compared);
  REQUIRE(compared.image[0] == 1.0F);
  REQUIRE(compared.similarity[0] == compared.text[0]);
}
