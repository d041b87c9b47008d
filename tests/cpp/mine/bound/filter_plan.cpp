// Plans of filters: what a sample of the rows says, the same for every number of threads.
#include "mine/bound/filter_plan.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

Corpus corpus_of(const Data& data, const MineOptions& options = {}) {
  return {data.image.view(), data.text.view(), rules_of(options), select_kernel()};
}

FilterPlan plan_of(const Data& data, std::int64_t k, const Comparison& comparison = {},
                   int threads = 2) {
  SilentTeam silent(threads);
  Corpus corpus = corpus_of(data);
  corpus.measure(silent.team);
  return choose_filters(corpus, k, silent.team, comparison);
}

}  // namespace

TEST_CASE("a small corpus gets a plan without a sample", "[filter_plan]") {
  const FilterPlan plan = plan_of(clustered_data(2000, 64, 64), 10);
  REQUIRE(plan.low == 0);
  REQUIRE(plan.leading.count == 0);
  REQUIRE(plan.passed_score == -1.0);
}

TEST_CASE("no filter passes fewer pairs than reach the threshold by their score", "[filter_plan]") {
  for (const double noise : {0.3, 0.8, 3.0}) {
    INFO("noise " << noise);
    const FilterPlan plan =
        plan_of(clustered_data(4000, 128, 96, DType::float32, 1, 60, noise), 20);
    REQUIRE(plan.passed_score > 0.0);
    REQUIRE(plan.passed_whole >= plan.passed_score);
    if (plan.low > 0) REQUIRE(plan.passed_first >= plan.passed_score);
    if (plan.second > 0) REQUIRE(plan.passed_second <= plan.passed_first);
    REQUIRE(plan.low % 64 == 0);
    REQUIRE(plan.high <= plan.low);
    REQUIRE((plan.second == 0 || plan.second > plan.low));
    REQUIRE(plan.basis.count == std::max(plan.low, plan.second));
  }
}

TEST_CASE("factors balance the modalities, and give rows their length", "[filter_plan]") {
  const FilterPlan plan = plan_of(clustered_data(3000, 128, 96), 20);
  REQUIRE(plan.factors.size() == 2);
  REQUIRE(plan.factors[0] >= 0.25);
  REQUIRE(plan.factors[0] <= 4.0);
  REQUIRE(std::abs(plan.factors[0] * plan.factors[1] - 1.0) < 1e-12);
  REQUIRE(std::abs(plan.length - (plan.factors[0] + plan.factors[1])) < 1e-12);
  SilentTeam silent;
  const Data data = clustered_data(3000, 128, 96);
  MineOptions options;
  options.modality = Modality::image;
  const Corpus image = corpus_of(data, options);
  const FilterPlan one = choose_filters(image, 20, silent.team);
  REQUIRE(one.factors == std::vector<double>{1.0});
  REQUIRE(one.length == 1.0);
}

TEST_CASE("a plan does not depend on the number of threads", "[filter_plan]") {
  const Data data = clustered_data(3000, 128, 96);
  const FilterPlan one = plan_of(data, 20, {}, 1);
  const FilterPlan three = plan_of(data, 20, {}, 3);
  REQUIRE(one.basis.vectors == three.basis.vectors);
  REQUIRE(one.leading.vectors == three.leading.vectors);
  REQUIRE(one.mean == three.mean);
  REQUIRE(one.cycles == three.cycles);
}

TEST_CASE("a plan for few pairs of each row is light, one for close pairs has one tier",
          "[filter_plan]") {
  const Data data = clustered_data(3000, 192, 128);
  const FilterPlan few = plan_of(data, 20, {FilteredPairs::few, 0.1});
  REQUIRE(few.light);
  REQUIRE(few.second == 0);
  REQUIRE(few.leading.count == 0);
  const FilterPlan closest = plan_of(data, 20, {FilteredPairs::closest, 0.05, 100, 1000});
  REQUIRE_FALSE(closest.light);
  REQUIRE(closest.high_share == 0.0);
  REQUIRE(closest.leading.count == 128);
}

TEST_CASE("a weighted row has the length that the plan says", "[filter_plan]") {
  const Data data = clustered_data(10, 12, 20);
  const Corpus corpus = corpus_of(data);
  WeightedRow reader(corpus, {2.0, 0.5});
  std::vector<float> row(32);
  reader.read(3, row.data());
  double image = 0.0, text = 0.0;
  for (std::size_t i = 0; i < 12; ++i) image += static_cast<double>(row[i]) * row[i];
  for (std::size_t i = 12; i < 32; ++i) text += static_cast<double>(row[i]) * row[i];
  REQUIRE(std::abs(image - 2.0) < 1e-5);
  REQUIRE(std::abs(text - 0.5) < 1e-5);
}
