// Names of options, and what is refused by name.
#include "mine/corpus/mine_options.h"

#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <string>

#include "support/expect_error.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::testing;

namespace {

void refuse(const Data& data, const MineOptions& options, const std::string& words) {
  expect_error(ErrorCode::invalid_argument, words, [&] {
    mining::validate(mining::Matrices{data.image.view(), data.text.view()}, options);
  });
}

}  // namespace

TEST_CASE("each name is that of what it was made from", "[mine_options]") {
  for (const char* name : {"auto", "exact", "sample", "hnsw", "partition"}) {
    REQUIRE(name_of(method_from_name(name)) == std::string(name));
  }
  for (const char* name : {"both", "image", "text"}) {
    REQUIRE(name_of(modality_from_name(name)) == std::string(name));
  }
  for (const char* name : {"none", "image", "text", "both"}) {
    REQUIRE(name_of(collapse_from_name(name)) == std::string(name));
  }
}

TEST_CASE("an unknown name is refused with those that there are", "[mine_options]") {
  expect_error(ErrorCode::invalid_argument,
               "method 'lsh' is unknown; use auto, exact, sample, hnsw or partition",
               [] { static_cast<void>(method_from_name("lsh")); });
  expect_error(ErrorCode::invalid_argument, "modality 'audio' is unknown",
               [] { static_cast<void>(modality_from_name("audio")); });
  expect_error(ErrorCode::invalid_argument,
               "collapse 'all' is unknown; use none, image, text or both",
               [] { static_cast<void>(collapse_from_name("all")); });
}

TEST_CASE("matrices must fit each other and the options", "[mine_options]") {
  const Data data = clustered_data(20, 6, 4);
  const Data other = clustered_data(21, 6, 4);
  MineOptions options;
  options.k = 3;
  mining::validate(mining::Matrices{data.image.view(), data.text.view()}, options);
  refuse({data.image, other.text}, options, "row i of both must be pair i");
  MineOptions wrong = options;
  wrong.k = 0;
  refuse(data, wrong, "k is 0, but must be at least 1");
  wrong = options;
  wrong.image_max = std::numeric_limits<double>::quiet_NaN();
  refuse(data, wrong, "image_max is nan");
  wrong = options;
  wrong.margin = 0.1;
  refuse(data, wrong, "6 dimensions and text embeddings 4");
  wrong = options;
  wrong.method = MiningMethod::sample;
  wrong.candidates = 21;
  refuse(data, wrong, "but the data set has 20 rows");
}

TEST_CASE("rows are counted by the modality that is used", "[mine_options]") {
  const Data data = clustered_data(20, 6, 4);
  MineOptions options;
  options.modality = Modality::text;
  REQUIRE(mining::row_count({{}, data.text.view()}, options) == 20);
  options.modality = Modality::image;
  REQUIRE(mining::row_count({data.image.view(), {}}, options) == 20);
}
