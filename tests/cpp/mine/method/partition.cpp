// Approximate mining by clusters that widens until its measured recall is what was asked for.
#include "mine/budget/budget.h"

#include <catch2/catch_test_macros.hpp>
#include <random>

#include "io/json.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"

using namespace helip;
using helip::mining::kPartitionNear;
using namespace helip::testing;

namespace {

constexpr std::int64_t kRows = 25000;  // enough for clusters

MineOptions partition_options(std::int64_t k, double recall = 0.95) {
  MineOptions options = exact_options(k);
  options.method = MiningMethod::partition;
  options.recall = recall;
  return options;
}

Data scattered(std::int64_t rows, std::int64_t clusters, double noise, unsigned seed = 1) {
  return clustered_data(rows, 48, 32, DType::float32, seed, clusters, noise);
}

// Of all targets, against the exact table (which other tests hold against float64 brute force).
double recall_of(const HardPairs& found, const HardPairs& exact) {
  double sum = 0.0;
  std::int64_t targets = 0;
  for (std::int64_t i = 0; i < exact.size(); ++i) {
    const std::int64_t wanted = exact.count(i);
    if (wanted == 0) continue;
    std::int64_t hits = 0;
    for (std::int64_t rank = 0; rank < found.count(i); ++rank) {
      hits += found.score(i, rank) >= exact.score(i, wanted - 1) ? 1 : 0;
    }
    sum += static_cast<double>(std::min(hits, wanted)) / static_cast<double>(wanted);
    ++targets;
  }
  return targets == 0 ? 1.0 : sum / static_cast<double>(targets);
}

HardPairs mined(const Data& data, const MineOptions& options) {
  return mine(data.image.view(), data.text.view(), options);
}

HardPairs exactly(const Data& data, MineOptions options) {
  options.method = MiningMethod::exact;
  return mined(data, options);
}

}  // namespace

TEST_CASE("partitions reach the recall that was asked for, and look at few pairs", "[partition]") {
  const Data data = scattered(kRows, 400, 0.8);
  const MineOptions options = partition_options(10);
  const HardPairs pairs = mined(data, options);
  const auto report = report_of(pairs);
  REQUIRE(report["recall"]["low"].get<double>() >= 0.95);
  REQUIRE(report["recall"]["targets"] == 1000);
  REQUIRE(report["partition"]["met"].get<double>() < 0.5);
  REQUIRE_FALSE(report["partition"]["exact"].get<bool>());
  REQUIRE(recall_of(pairs, exactly(data, options)) >= 0.95);
}

TEST_CASE("the interval of a partition's recall holds the truth", "[partition]") {
  const Data data = scattered(kRows, 500, 1.2);
  MineOptions options = partition_options(10, 0.5);  // where it stops early
  const HardPairs exact = exactly(data, options);
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    options.seed = seed;
    const HardPairs pairs = mined(data, options);
    const double truth = recall_of(pairs, exact);
    const auto recall = report_of(pairs)["recall"];
    INFO("seed " << seed << ", truth " << truth << ", measured " << recall.dump());
    REQUIRE(recall["low"].get<double>() <= truth);
    REQUIRE(recall["high"].get<double>() >= truth);
  }
}

TEST_CASE("scores of a partition are exact", "[partition]") {
  const Data data = scattered(kRows, 100, 0.8);
  const MineOptions options = partition_options(8);
  const HardPairs pairs = mined(data, options);
  const PlainMiner plain(data, options);
  for (const std::int64_t target : {0, 77, 24999}) {
    for (std::int64_t rank = 0; rank < pairs.count(target); ++rank) {
      REQUIRE(static_cast<float>(plain.score(target, pairs.id(target, rank))) ==
              pairs.score(target, rank));
      REQUIRE((rank == 0 || pairs.score(target, rank) <= pairs.score(target, rank - 1)));
      for (std::int64_t other = 0; other < rank; ++other) {
        REQUIRE(pairs.id(target, other) != pairs.id(target, rank));
      }
    }
  }
}

TEST_CASE("a recall of 1 makes a partition exact, and it says so", "[partition]") {
  const Data data = scattered(5000, 50, 0.8);
  const MineOptions options = partition_options(8, 1.0);
  const HardPairs pairs = mined(data, options);
  REQUIRE(report_of(pairs)["partition"]["exact"].get<bool>());
  REQUIRE(report_of(pairs)["recall"]["low"] == 1.0);
  check_table(data, options, pairs);
}

TEST_CASE("isotropic rows make all pairs of a partition meet", "[partition]") {
  const Data data = scattered(kRows, 1, 50.0);
  const MineOptions options = partition_options(10);
  const HardPairs pairs = mined(data, options);
  REQUIRE(report_of(pairs)["partition"]["exact"].get<bool>());
  REQUIRE(bytes_of(pairs).substr(0, kRows * 84) ==
          bytes_of(exactly(data, options)).substr(0, kRows * 84));
}

TEST_CASE("a partition widens until it has found enough", "[partition]") {
  const Data data = scattered(kRows, 400, 0.9);
  const HardPairs pairs = mined(data, partition_options(10));
  const auto report = report_of(pairs);
  INFO(report.dump());
  REQUIRE(report["partition"]["near"] > kPartitionNear);
  REQUIRE(report["partition"]["met"].get<double>() < 0.5);
  REQUIRE(report["recall"]["low"].get<double>() >= 0.95);
}

TEST_CASE("partitions know anisotropic and repeated rows", "[partition]") {
  const MineOptions options = partition_options(10);
  const Data narrow{Matrix(anisotropic_values(kRows, 48, 2.0, 3), kRows, 48, DType::float32),
                    Matrix(anisotropic_values(kRows, 32, 2.0, 4), kRows, 32, DType::float32)};
  REQUIRE(recall_of(mined(narrow, options), exactly(narrow, options)) >= 0.95);
  const Data same{
      Matrix(repeated(clustered_values(kRows, 48, 60, 0.8, 5), 48, 500), kRows, 48, DType::float32),
      Matrix(repeated(clustered_values(kRows, 32, 60, 0.8, 6), 32, 500), kRows, 24,
             DType::float32)};
  REQUIRE(recall_of(mined(same, options), exactly(same, options)) >= 0.95);
}

TEST_CASE("partitions have the same bytes for any threads and memory", "[partition]") {
  const Data data = scattered(kRows, 500, 1.2);
  MineOptions options = partition_options(10);
  options.threads = 1;
  const std::string wanted = bytes_of(mined(data, options));
  for (const int threads : {2, 3}) {
    options.threads = threads;
    REQUIRE(bytes_of(mined(data, options)) == wanted);
  }
  options.memory = 1;  // everything on disk
  REQUIRE(bytes_of(mined(data, options)) == wanted);
}

TEST_CASE("pools may be larger than a cluster of a partition", "[partition]") {
  const Data data = scattered(29000, 100, 0.8);
  const MineOptions options = partition_options(150);
  REQUIRE(recall_of(mined(data, options), exactly(data, options)) >= 0.95);
}

TEST_CASE("a partition of few rows is exact", "[partition]") {
  for (const std::int64_t rows : {0, 1, 2, 50, 900}) {
    const Data data = scattered(rows, 10, 0.8);
    const MineOptions options = partition_options(5);
    const HardPairs pairs = mined(data, options);
    if (rows > 0) REQUIRE(report_of(pairs)["partition"]["exact"].get<bool>());
    check_table(data, options, pairs);
  }
}

TEST_CASE("partitions pass over zero rows and deleted ones", "[partition]") {
  std::vector<double> image = clustered_values(kRows, 48, 60, 0.8, 4);
  std::fill_n(image.begin(), 48 * 5, 0.0);
  const Data data{Matrix(image, kRows, 48, DType::float32),
                  Matrix(clustered_values(kRows, 32, 60, 0.8, 5), kRows, 32, DType::float32)};
  std::vector<std::uint8_t> deleted(kRows);
  deleted[100] = deleted[24999] = 1;
  MatrixView left = data.image.view();
  MatrixView right = data.text.view();
  left.deleted = right.deleted = deleted.data();
  const MineOptions options = partition_options(6);
  const HardPairs pairs = mine(left, right, options);
  for (const std::int64_t row : {0, 4, 100, 24999}) REQUIRE(pairs.count(row) == 0);
  for (std::int64_t i = 0; i < kRows; ++i) {
    for (std::int64_t rank = 0; rank < pairs.count(i); ++rank) {
      const std::int64_t id = pairs.id(i, rank);
      REQUIRE((id >= 5 && id != 100 && id != 24999));
    }
  }
  REQUIRE(report_of(pairs)["recall"]["low"].get<double>() >= 0.95);
}

TEST_CASE("partitions honour the rules of a pool", "[partition]") {
  const auto image = clustered_values(kRows, 40, 200, 0.5, 1);
  auto text = image;
  const auto other = clustered_values(kRows, 40, 100, 0.5, 3);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] += 0.5 * other[i];
  const Data data{Matrix(image, kRows, 40, DType::float32),
                  Matrix(text, kRows, 40, DType::float32)};
  MineOptions options = partition_options(5);
  options.image_max = options.text_max = 0.9;
  options.margin = 0.02;
  options.skip = 2;
  options.collapse = Collapse::both;
  options.min_score = 0.1;
  const HardPairs pairs = mined(data, options);
  REQUIRE_FALSE(report_of(pairs)["partition"]["exact"].get<bool>());
  REQUIRE(recall_of(pairs, exactly(data, options)) >= 0.95);
  // A pair's score does not depend on groups, which a plain search takes long to find.
  MineOptions ungrouped = options;
  ungrouped.collapse = Collapse::none;
  const PlainMiner plain(data, ungrouped);
  for (std::int64_t target = 0; target < kRows; target += 97) {
    for (std::int64_t rank = 0; rank < pairs.count(target); ++rank) {
      // 0 where a rule keeps the pair out.
      REQUIRE(static_cast<float>(plain.score(target, pairs.id(target, rank))) ==
              pairs.score(target, rank));
      REQUIRE(pairs.score(target, rank) > 0.1F);
    }
  }

  MineOptions one = partition_options(6);
  one.signed_products = true;
  REQUIRE(recall_of(mined(data, one), exactly(data, one)) >= 0.95);
  one = partition_options(6);
  one.modality = Modality::text;
  REQUIRE(recall_of(mined(data, one), exactly(data, one)) >= 0.95);
}

TEST_CASE("partitions can be stopped in each stage", "[partition]") {
  const Data data = scattered(kRows, 400, 0.9);
  const MineOptions options = partition_options(10);
  for (const std::string stage : {"check", "encode", "measure", "mine", "refine", "write"}) {
    INFO(stage);
    expect_error(ErrorCode::cancelled, "stage '" + stage + "'", [&] {
      mine(data.image.view(), data.text.view(), options,
           [&](const Progress& progress) { return progress.stage != stage; });
    });
  }
}

TEST_CASE("a partition is planned, and mined in one part", "[partition]") {
  const Data data = scattered(kRows, 60, 0.8);
  const MinePlan planned = plan(data.image.view(), data.text.view(), partition_options(10));
  REQUIRE(planned.method == MiningMethod::partition);
  REQUIRE(planned.seconds > 0.0);
}
