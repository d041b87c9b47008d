// Approximate mining with graphs over the product kernel.
#include <catch2/catch_test_macros.hpp>

#include "io/json.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::testing;

namespace {

MineOptions hnsw_options(std::int64_t k, double recall = 0.95) {
  MineOptions options = exact_options(k);
  options.method = MiningMethod::hnsw;
  options.recall = recall;
  return options;
}

}  // namespace

TEST_CASE("graphs reach the recall that was asked for on clustered data", "[hnsw]") {
  const Data data = clustered_data(2500, 32, 24, DType::float32, 3, 60, 0.8);
  const HardPairs pairs = mine(data.image.view(), data.text.view(), hnsw_options(10));
  const auto report = report_of(pairs);
  REQUIRE(report["recall"]["low"].get<double>() >= 0.95);
  REQUIRE(report["recall"]["targets"] == 1000);
  REQUIRE(report["hnsw"]["reached"] == true);
}

TEST_CASE("a graph that falls short of the recall says so", "[hnsw]") {
  const Data data = clustered_data(300, 32, 24);
  const auto report = report_of(mine(data.image.view(), data.text.view(), hnsw_options(5, 1.0)));
  REQUIRE(report["recall"]["value"] == 1.0);  // which 300 targets show to 0.987 alone
  REQUIRE(report["hnsw"]["breadth"] == 300);
  REQUIRE(report["hnsw"]["reached"] == false);
}

TEST_CASE("few rows are all compared", "[hnsw]") {
  const Data data = clustered_data(200, 16, 12);
  const MineOptions options = hnsw_options(6, 1.0);
  const HardPairs pairs = mine(data.image.view(), data.text.view(), options);
  const auto report = report_of(pairs);
  REQUIRE(report["hnsw"]["reached"] == true);
  REQUIRE(report["recall"]["low"] == 1.0);
  const PlainMiner plain(data, options);
  for (std::int64_t target = 0; target < 200; ++target) check_target(plain, target, pairs);
}

TEST_CASE("a graph larger than the memory is refused", "[hnsw]") {
  const Data data = clustered_data(400, 32, 24);
  MineOptions options = hnsw_options(5);
  options.memory = 1000;
  expect_error(ErrorCode::out_of_memory, "bytes, more than memory = 1000; raise memory=", [&] {
    mine(data.image.view(), data.text.view(), options);
  });
}

TEST_CASE("near duplicates do not take the places of hard pairs", "[hnsw]") {
  std::vector<double> image = clustered_values(1200, 16, 10, 0.7, 4);
  std::vector<double> text = clustered_values(1200, 16, 10, 0.7, 5);
  for (std::size_t i = 0; i < 1200; ++i) {  // 30 copies of each row, more than k
    std::copy_n(image.begin() + static_cast<std::ptrdiff_t>(i / 30 * 30 * 16), 16,
                image.begin() + static_cast<std::ptrdiff_t>(i * 16));
    std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(i / 30 * 30 * 16), 16,
                text.begin() + static_cast<std::ptrdiff_t>(i * 16));
  }
  const Data data{Matrix(image, 1200, 16, DType::float32), Matrix(text, 1200, 16, DType::float32)};
  const auto report = report_of(mine(data.image.view(), data.text.view(), hnsw_options(10, 0.9)));
  REQUIRE(report["recall"]["value"].get<double>() >= 0.9);
}

TEST_CASE("scores of graph mining are exact", "[hnsw]") {
  const Data data = clustered_data(500, 16, 12, DType::float16);
  const MineOptions options = hnsw_options(6);
  const HardPairs pairs = mine(data.image.view(), data.text.view(), options);
  for (const std::int64_t target : {0, 77, 499}) {
    const auto expected = plain_pool(data, target, options);
    for (std::int64_t rank = 0; rank < pairs.count(target); ++rank) {
      const auto found = std::find_if(expected.begin(), expected.end(), [&](const PlainPair& pair) {
        return pair.id == pairs.id(target, rank);
      });
      REQUIRE(found != expected.end());
      REQUIRE(static_cast<float>(found->score) == pairs.score(target, rank));
    }
  }
}

TEST_CASE("graph mining has the same bytes for any number of threads", "[hnsw]") {
  const Data data = clustered_data(800, 16, 12);
  MineOptions options = hnsw_options(6);
  options.threads = 1;
  const std::string wanted = bytes_of(mine(data.image.view(), data.text.view(), options));
  options.threads = 4;
  REQUIRE(bytes_of(mine(data.image.view(), data.text.view(), options)) == wanted);
}

TEST_CASE("graph mining knows one modality, signed products and zero rows", "[hnsw]") {
  std::vector<double> image = clustered_values(400, 16, 10, 0.7, 4);
  std::fill_n(image.begin(), 16 * 5, 0.0);
  const Data data{Matrix(image, 400, 16, DType::float32),
                  Matrix(clustered_values(400, 16, 10, 0.7, 5), 400, 16, DType::float32)};
  MineOptions options = hnsw_options(6);
  const HardPairs both = mine(data.image.view(), data.text.view(), options);
  REQUIRE(both.count(0) == 0);
  options.signed_products = true;
  REQUIRE(report_of(mine(data.image.view(), data.text.view(), options))["recall"]["value"] >= 0.95);
  options.modality = Modality::text;
  REQUIRE(report_of(mine(MatrixView{}, data.text.view(), options))["recall"]["value"] >= 0.95);
}

TEST_CASE("a data set of zero rows gives outliers only", "[hnsw]") {
  for (const std::int64_t rows : {50, 300}) {
    const std::vector<double> zeros(static_cast<std::size_t>(rows) * 4, 0.0);
    const Data data{Matrix(zeros, rows, 4, DType::float32), Matrix(zeros, rows, 4, DType::float32)};
    const HardPairs pairs = mine(data.image.view(), data.text.view(), hnsw_options(3));
    REQUIRE(pairs.statistics().outliers == rows);
  }
}

TEST_CASE("graph mining honours margin, skipped pairs and groups", "[hnsw]") {
  const auto image = clustered_values(500, 16, 25, 0.4, 1);
  auto text = image;
  const auto other = clustered_values(500, 16, 12, 0.5, 3);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] += 0.5 * other[i];
  const Data data{Matrix(image, 500, 16, DType::float32), Matrix(text, 500, 16, DType::float32)};
  MineOptions options = hnsw_options(5, 1.0);  // as wide as it takes: here all rows
  options.image_max = options.text_max = 0.95;
  options.margin = 0.02;
  options.skip = 2;
  options.collapse = Collapse::both;
  const HardPairs pairs = mine(data.image.view(), data.text.view(), options);
  REQUIRE(report_of(pairs)["recall"]["value"] == 1.0);
  const PlainMiner plain(data, options);
  for (const std::int64_t target : {0, 41, 250, 499}) check_target(plain, target, pairs);
  REQUIRE(report_of(pairs)["drops"]["skipped"].get<int>() > 500);
}
