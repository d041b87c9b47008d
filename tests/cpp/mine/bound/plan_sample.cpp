// Thresholds that a sample suggests, where the numbers are known.
#include "mine/bound/plan_sample.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "mine/bound/filter_plan.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

// By images alone, whose similarity is the score.
FilterPlan plan_of_images(std::int64_t rows, std::int64_t k) {
  SilentTeam silent;
  const Data data{Matrix(clustered_values(rows, 16, 500, 0.7, 3), rows, 16, DType::float32),
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
}

TEST_CASE("thresholds of a large data set come from as many rows as they need", "[plan_sample]") {
  constexpr std::int64_t kRows = 400000, kKept = 20;
  const FilterPlan plan = plan_of_images(kRows, kKept);
  const double expected = static_cast<double>(kKept) / static_cast<double>(kRows);
  INFO(plan.passed_score << " of " << expected);
  REQUIRE(std::abs(plan.passed_score - expected) < 0.01 * expected);
  REQUIRE(plan.passed_whole < 3.0 * expected);
}
