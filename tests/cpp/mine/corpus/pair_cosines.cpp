// Cosines of pairs: the bits of the plain float64 definition, NaN where there is none.
#include "helip/pair_cosines.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <vector>

#include "support/expect_error.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::testing;

namespace {

constexpr std::int64_t kRows = 40, kK = 5;
constexpr DType kDTypes[] = {DType::float64, DType::float32, DType::float16, DType::bfloat16,
                             DType::int8};

// Target i has i + 1, i + 4, ... and then a place without an id.
std::vector<std::int64_t> ids_from(std::int64_t first, std::int64_t targets) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = first; i < first + targets; ++i) {
    for (std::int64_t r = 0; r + 1 < kK; ++r) ids.push_back((i + 1 + 3 * r) % kRows);
    ids.push_back(-1);
  }
  return ids;
}

}  // namespace

TEST_CASE("cosines of all sides have the bits of the plain definition", "[pair_cosines]") {
  for (const DType dtype : kDTypes) {
    INFO(name_of(dtype));
    const Data data = clustered_data(kRows, 24, 24, dtype);
    const PlainRows image(data.image.view()), text(data.text.view());
    const PairCosines cosines(data.image.view(), data.text.view(), 2);
    const std::int64_t first = 7, targets = 30;
    const std::vector<std::int64_t> ids = ids_from(first, targets);
    const auto cross = cosines.of(PairSides::image_text, first, ids, kK);
    const auto back = cosines.of(PairSides::text_image, first, ids, kK);
    const auto images = cosines.of(PairSides::image_image, first, ids, kK);
    const auto texts = cosines.of(PairSides::text_text, first, ids, kK);
    for (std::size_t p = 0; p < ids.size(); ++p) {
      const std::int64_t i = first + static_cast<std::int64_t>(p) / kK, j = ids[p];
      if (j < 0) {
        REQUIRE((std::isnan(cross[p]) && std::isnan(back[p])));
        continue;
      }
      REQUIRE(cross[p] == image.cosine(i, text, j));
      REQUIRE(back[p] == text.cosine(i, image, j));
      REQUIRE(images[p] == image.cosine(i, j));
      REQUIRE(texts[p] == text.cosine(i, j));
    }
  }
}

TEST_CASE("pairs of zero rows and deleted rows have no cosine", "[pair_cosines]") {
  std::vector<double> values = clustered_values(kRows, 8, 4, 0.5, 1);
  std::fill_n(values.begin(), 8, 0.0);
  const Matrix rows(values, kRows, 8, DType::float32);
  MatrixView text = rows.view();
  std::vector<std::uint8_t> deleted(kRows);
  deleted[3] = 1;
  text.deleted = deleted.data();
  const PairCosines cosines(rows.view(), text, 1);
  const std::vector<std::int64_t> ids = {0, 3, 4, 1, 2, 3};
  const auto found = cosines.of(PairSides::image_text, 5, ids, 3);
  REQUIRE(std::isnan(found[0]));
  REQUIRE(std::isnan(found[1]));
  REQUIRE(std::isfinite(found[2]));
  REQUIRE(std::isfinite(found[4]));
  const auto of_zero = cosines.of(PairSides::image_image, 0, ids, 3);
  REQUIRE(std::isnan(of_zero[2]));
}

TEST_CASE("what has no cosine is refused", "[pair_cosines]") {
  const Data data = clustered_data(kRows, 24, 16, DType::float32);
  const PairCosines cosines(data.image.view(), data.text.view(), 1);
  const std::vector<std::int64_t> ids = {1, 2};
  expect_error(ErrorCode::invalid_argument, "of 24 and of 16",
               [&] { (void)cosines.of(PairSides::image_text, 0, ids, 2); });
  REQUIRE(cosines.of(PairSides::text_text, 0, ids, 2).size() == 2);
  expect_error(ErrorCode::invalid_argument, "outside 0 .. 39", [&] {
    (void)cosines.of(PairSides::text_text, 0, std::vector<std::int64_t>{1, kRows}, 2);
  });
  expect_error(ErrorCode::invalid_argument, "from target 39",
               [&] { (void)cosines.of(PairSides::text_text, 39, ids, 1); });
  const Data fewer = clustered_data(kRows - 1, 24, 16, DType::float32);
  expect_error(ErrorCode::invalid_argument, "39",
               [&] { const PairCosines wrong(data.image.view(), fewer.text.view(), 1); });
}
