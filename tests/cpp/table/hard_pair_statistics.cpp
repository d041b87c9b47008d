#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <utility>

#include "helip/hard_pairs.h"
#include "support/table_samples.h"

using namespace helip;
using Catch::Approx;

TEST_CASE("statistics count outliers, short targets and hubs") {
  const HardPairStatistics s = SampleTable().make().statistics();
  CHECK(s.targets == 4);
  CHECK(s.pairs == 5);
  CHECK(s.outliers == 1);
  CHECK(s.short_targets == 2);
  CHECK(s.score_quantiles[4].second == Approx(0.8));
  CHECK(s.score_quantiles[0].second == Approx(0.5));
  CHECK(s.first_score_quantiles[0].second == Approx(0.8));
  CHECK(s.mean_in_degree == Approx(1.25));
  CHECK(s.max_in_degree == 2);
  CHECK(s.never_chosen == 1);
  CHECK(s.hubs[0] == std::pair<std::int64_t, std::int64_t>{0, 2});
  CHECK(s.hubs[1] == std::pair<std::int64_t, std::int64_t>{1, 2});
}
