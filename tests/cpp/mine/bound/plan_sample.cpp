// Thresholds that a sample suggests, where the numbers are known.
#include "mine/bound/plan_sample.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <vector>

#include "mine/bound/filter_plan.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

// By images alone, whose similarity is the score. Of 128 dimensions the last are 0 where `narrow`,
// so that 64 leading ones tell all.
FilterPlan plan_of_images(std::int64_t rows, std::int64_t k, bool narrow = false) {
  SilentTeam silent;
  const std::int64_t told = narrow ? 64 : 16, width = narrow ? 128 : 16;
  const std::vector<double> values = clustered_values(rows, told, 500, 0.7, 3);
  std::vector<double> padded(static_cast<std::size_t>(rows * width));
  for (std::int64_t row = 0; row < rows; ++row) {
    std::copy_n(values.begin() + row * told, told, padded.begin() + row * width);
  }
  const Data data{Matrix(padded, rows, width, DType::float32),
                  Matrix(clustered_values(rows, 4, 500, 0.7, 4), rows, 4, DType::float32)};
  MineOptions options;
  options.modality = Modality::image;
  Corpus corpus(data.image.view(), data.text.view(), rules_of(options), select_kernel());
  corpus.measure(silent.team);
  return choose_filters(corpus, k, silent.team);
}

}  // namespace

TEST_CASE("a row is no pair of its own in the shares of a plan", "[plan_sample]") {
  const FilterPlan plan = plan_of_images(3000, 10);
  REQUIRE(std::abs(plan.passed_score - 10.0 / 3000.0) < 1e-9);
  // A near duplicate passes, and has no score.
  REQUIRE(plan.passed_whole >= plan.passed_score * (1.0 - 1e-3));
  REQUIRE(plan.passed_whole < plan.passed_score + 0.5 / 3000.0);

  // The first filter is rated by a quarter of the rows.
  const FilterPlan filtered = plan_of_images(3000, 2, true);
  REQUIRE(filtered.low == 64);
  INFO(filtered.passed_first);
  REQUIRE(filtered.passed_first > 0.0);
  REQUIRE(filtered.passed_first < 1.0 / 750.0);
}

TEST_CASE("thresholds of a large data set come from as many rows as they need", "[plan_sample]") {
  constexpr std::int64_t kRows = 400000, kKept = 20;
  const FilterPlan plan = plan_of_images(kRows, kKept);
  const double expected = static_cast<double>(kKept) / static_cast<double>(kRows);
  INFO(plan.passed_score << " of " << expected);
  REQUIRE(std::abs(plan.passed_score - expected) < 0.01 * expected);
  REQUIRE(plan.passed_whole < 3.0 * expected);
}
