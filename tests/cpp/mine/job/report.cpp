// What a manifest says of a table's mining.
#include "mine/job/report.h"

#include <catch2/catch_test_macros.hpp>

#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

TEST_CASE("a recall that was written is read back to the bit", "[report]") {
  const RecallEstimate recall{7, 0.1 + 0.2, 0.3, 0.9};
  const RecallEstimate read = recall_of_json(Json::parse(recall_json(recall).dump()));
  REQUIRE(read.targets == recall.targets);
  REQUIRE(read.estimate == recall.estimate);
  REQUIRE(read.low == recall.low);
  REQUIRE(read.high == recall.high);
}

TEST_CASE("a report of all rows has the recall, one of a part what it is made of", "[report]") {
  MethodReport report;
  report.has_recall = true;
  report.recall = {2, 0.5, 0.1, 0.9};
  report.hits = {{1, 2}, {1, 2}};
  MineOptions options = exact_options(4);
  options.method = MiningMethod::sample;
  options.candidates = 6;
  const Data data = clustered_data(10, 4, 4, DType::float32);
  const Corpus corpus(data.image.view(), data.text.view(), rules_of(options), select_kernel());
  const auto json = [&](const TargetRange& targets) {
    return Json::parse(report_json(report, nullptr, options, targets, corpus, {}));
  };
  const auto whole = json({0, 10, 0, 10}), part = json({0, 5, 0, 10});
  REQUIRE(whole["pairs"] == 60);
  REQUIRE(whole["recall"]["value"] == 0.5);
  REQUIRE_FALSE(whole.contains("recall_hits"));
  REQUIRE(part["pairs"] == 30);
  REQUIRE(part["recall_hits"] == Json({{1, 2}, {1, 2}}));
  REQUIRE_FALSE(part.contains("recall"));
  REQUIRE_FALSE(whole.contains("filters"));
}

TEST_CASE("options that change no byte of the table are not in its manifest", "[report]") {
  MineOptions options = exact_options(4);
  const std::string before = options_json(options);
  options.threads = 7;
  options.memory = 12345;
  options.parts = 3;
  options.checkpoint = 1.0;
  REQUIRE(options_json(options) == before);
  options.skip = 1;
  REQUIRE(options_json(options) != before);
}

TEST_CASE("filters that no sample was taken for say nothing of shares", "[report]") {
  FilterPlan plan;
  REQUIRE(filters_json(plan, MineOptions())["passed"].empty());
  plan.passed_score = 0.25;
  REQUIRE(filters_json(plan, MineOptions())["passed"]["score"] == 0.25);
}

TEST_CASE("what filters kept out of the pools is counted", "[report]") {
  // Row 0 and its candidates, by falling cosine, text alike: two near duplicates, then 0.8, 0.6.
  const Data data{Matrix({1, 0, 1, 0.01, 1, 0.02, 0.8, 0.6, 0.6, -0.8}, 5, 2, DType::float64),
                  Matrix({1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 5, 2, DType::float64)};
  MineOptions options = exact_options(3);
  options.text_max = 1.0;
  const auto drops = [&] {
    return Json::parse(
        mine(data.image.view(), data.text.view(), options).origin().report_json)["drops"];
  };
  REQUIRE(drops() == Json({{"image_duplicate", 6},
                           {"text_duplicate", 0},
                           {"margin", 0},
                           {"collapsed", 0},
                           {"skipped", 0}}));
  options.k = 1;
  REQUIRE(drops()["image_duplicate"] == 3);  // the second one would not have been the best
  options.skip = 1;
  REQUIRE(drops()["image_duplicate"] == 6);
  REQUIRE(drops()["skipped"] == 5);
  options.image_max = 1.0;
  options.text_max = 0.5;
  REQUIRE(drops()["image_duplicate"] == 0);
  REQUIRE(drops()["text_duplicate"].get<int>() > 6);
}
