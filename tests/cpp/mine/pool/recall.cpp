// Recall and its interval, against figures of the textbook.
#include "mine/pool/recall.h"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

using namespace helip::mining;
using Catch::Approx;

TEST_CASE("recall is the mean share of the pools, with Wilson's interval", "[recall]") {
  // 90 of 100 targets found, 10 not at all: Wilson's 95 % interval is [0.8256, 0.9448].
  std::vector<RecallHits> found(100, {4, 4});
  for (std::size_t i = 0; i < 10; ++i) found[i] = {0, 3};
  const RecallEstimate recall = estimate_recall(found);
  REQUIRE(recall.targets == 100);
  REQUIRE(recall.estimate == Approx(0.9));
  REQUIRE(recall.low == Approx(0.8256).margin(1e-4));
  REQUIRE(recall.high == Approx(0.9448).margin(1e-4));
  REQUIRE(estimate_recall({{1, 4}, {3, 4}}).estimate == Approx(0.5));
}

TEST_CASE("what was measured lies in its interval, whatever the rounding", "[recall]") {
  for (std::size_t targets = 1; targets < 200; ++targets) {
    for (const std::int64_t hits : {0, 1}) {
      const RecallEstimate recall = estimate_recall(std::vector<RecallHits>(targets, {hits, 1}));
      REQUIRE(recall.low <= recall.estimate);
      REQUIRE(recall.estimate <= recall.high);
    }
  }
}

TEST_CASE("without a target nothing is missed and nothing is known", "[recall]") {
  const RecallEstimate recall = estimate_recall({});
  REQUIRE(recall.targets == 0);
  REQUIRE(recall.estimate == 1.0);
  REQUIRE(recall.low == 0.0);
  REQUIRE(recall.high == 1.0);
}

TEST_CASE("more rows can show more recall, up to the size of the sample", "[recall]") {
  REQUIRE(most_recall_shown(10) < most_recall_shown(100));
  REQUIRE(most_recall_shown(kRecallTargets) == Approx(0.99617).margin(1e-5));
  REQUIRE(most_recall_shown(1000000) == most_recall_shown(kRecallTargets));
}
