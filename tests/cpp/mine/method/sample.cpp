// Mining against a random part of the data set (FastHPM).
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <set>

#include "io/json.h"
#include "mine/corpus/corpus.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::testing;

namespace {

MineOptions sample_options(std::int64_t k, std::int64_t candidates) {
  MineOptions options = exact_options(k);
  options.method = MiningMethod::sample;
  options.candidates = candidates;
  return options;
}

}  // namespace

TEST_CASE("a draw holds different rows in ascending order", "[sample]") {
  const auto drawn = mining::draw_rows(1000, 300, 5, 0);
  REQUIRE(drawn.size() == 300);
  REQUIRE(std::is_sorted(drawn.begin(), drawn.end()));
  REQUIRE(std::set<std::uint32_t>(drawn.begin(), drawn.end()).size() == 300);
  REQUIRE(mining::draw_rows(1000, 300, 5, 0) == drawn);
  REQUIRE(mining::draw_rows(1000, 300, 5, 1) != drawn);
  REQUIRE(mining::draw_rows(1000, 300, 6, 0) != drawn);
}

TEST_CASE("every row is drawn equally often", "[sample]") {
  std::vector<int> seen(50);
  for (std::uint64_t stream = 0; stream < 4000; ++stream) {
    for (const std::uint32_t row : mining::draw_rows(50, 10, 1, stream)) ++seen[row];
  }
  for (const int count : seen) REQUIRE(std::abs(count - 800) < 130);  // five standard deviations
}

TEST_CASE("drawing every row is exact mining", "[sample]") {
  const Data data = clustered_data(300, 12, 9);
  const MineOptions options = sample_options(8, 0);
  const HardPairs pairs = mine(data.image.view(), data.text.view(), options);
  check_table(data, options, pairs);
  const auto report = Json::parse(pairs.origin().report_json);
  REQUIRE(report["recall"]["value"] == 1.0);
  REQUIRE(report["pairs"] == 300 * 300);
}

TEST_CASE("recall is about the share of the data set that is drawn", "[sample]") {
  const Data data = clustered_data(2000, 16, 16, DType::float32, 2, 2, 0.9);
  MineOptions options = sample_options(20, 600);
  options.refresh = 50;  // many draws, so that the mean is close
  const HardPairs pairs = mine(data.image.view(), data.text.view(), options);
  const auto recall = Json::parse(pairs.origin().report_json)["recall"];
  REQUIRE(recall["targets"] == 1000);
  REQUIRE(std::abs(recall["value"].get<double>() - 0.3) < 0.03);
  REQUIRE(recall["low"] < recall["value"]);
  REQUIRE(recall["high"] > recall["value"]);
}

TEST_CASE("pools hold the best of the group's own draw", "[sample]") {
  const Data data = clustered_data(300, 12, 9);
  MineOptions options = sample_options(5, 100);
  options.refresh = 130;
  options.seed = 9;
  const HardPairs pairs = mine(data.image.view(), data.text.view(), options);
  for (const std::int64_t target : {0, 129, 130, 299}) {
    const auto drawn =
        mining::draw_rows(300, 100, 9, static_cast<std::uint64_t>(target / options.refresh));
    const auto expected = PlainMiner(data, options).pool(target, nullptr, &drawn);
    std::vector<std::int64_t> ids;
    std::vector<float> scores;
    for (std::int64_t rank = 0; rank < 5; ++rank) {
      ids.push_back(pairs.id(target, rank));
      scores.push_back(pairs.score(target, rank));
    }
    check_pool(expected, 5, ids.data(), scores.data(), pairs.count(target));
  }
}

TEST_CASE("a sampled table has the same bytes for any threads and memory", "[sample]") {
  const Data data = clustered_data(700, 12, 9);
  MineOptions options = sample_options(5, 250);
  options.refresh = 300;
  options.threads = 1;
  const std::string wanted = bytes_of(mine(data.image.view(), data.text.view(), options));
  options.threads = 4;
  REQUIRE(bytes_of(mine(data.image.view(), data.text.view(), options)) == wanted);
  options.memory = 1;
  REQUIRE(bytes_of(mine(data.image.view(), data.text.view(), options)) == wanted);
  options.seed = 1;
  REQUIRE(bytes_of(mine(data.image.view(), data.text.view(), options)) != wanted);
}

TEST_CASE("every option holds within the draw, and drops are counted there", "[sample]") {
  const std::int64_t rows = GENERATE(200, 420);
  const auto image = clustered_values(rows, 16, 12, 0.3, 1);
  auto text = image;
  const auto other = clustered_values(rows, 16, 12, 0.5, 3);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] += 0.5 * other[i];
  const Data data{Matrix(image, rows, 16, DType::float32), Matrix(text, rows, 16, DType::float16)};
  MineOptions options = sample_options(4, 90);
  options.refresh = 150;
  options.image_max = options.text_max = 0.93;
  options.skip = 2;
  options.margin = 0.02;
  options.collapse = Collapse::image;
  const HardPairs pairs = mine(data.image.view(), data.text.view(), options);
  const PlainMiner plain(data, options);
  Drops drops;
  for (std::int64_t target = 0; target < rows; ++target) {
    INFO("target " << target);
    const auto drawn = mining::draw_rows(rows, 90, options.seed,
                                         static_cast<std::uint64_t>(target / options.refresh));
    const auto expected = plain.pool(target, &drops, &drawn);
    std::vector<std::int64_t> ids;
    std::vector<float> scores;
    for (std::int64_t rank = 0; rank < 4; ++rank) {
      ids.push_back(pairs.id(target, rank));
      scores.push_back(pairs.score(target, rank));
    }
    check_pool(expected, 4, ids.data(), scores.data(), pairs.count(target));
  }
  const auto report = Json::parse(pairs.origin().report_json);
  REQUIRE(report["pairs"] == rows * 90);
  REQUIRE(report["drops"]["image_duplicate"] == drops.image);
  REQUIRE(report["drops"]["text_duplicate"] == drops.text);
  REQUIRE(report["drops"]["margin"] == drops.margin);
  REQUIRE(report["drops"]["collapsed"] == drops.collapsed);
  REQUIRE(report["drops"]["skipped"] == drops.skipped);
}
