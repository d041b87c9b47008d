// Sizes that methods and their plans share.
#include "mine/budget/method_sizes.h"

#include <catch2/catch_test_macros.hpp>

#include "mine/pool/recall.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

TEST_CASE("a sample draws what was asked for, at most all rows by default", "[method_sizes]") {
  MineOptions options;
  REQUIRE(sample_candidates(options, 1000) == 1000);
  REQUIRE(sample_candidates(options, 10000000) == 3000000);
  options.candidates = 7;
  REQUIRE(sample_candidates(options, 1000) == 7);
}

TEST_CASE("searches of a graph begin above the pool and end at a breadth", "[method_sizes]") {
  for (const std::int64_t kept : {1, 10, 100, 5000}) {
    REQUIRE(hnsw_first_breadth(kept) > kept);
    REQUIRE(hnsw_last_breadth(kept) >= 2 * hnsw_first_breadth(kept));
    REQUIRE(hnsw_last_breadth(kept) >= kHnswWidest);
  }
}

TEST_CASE("a graph takes its codes, its links and a number for each row", "[method_sizes]") {
  const Data data = clustered_data(300, 100, 64);
  const Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  REQUIRE(hnsw_bytes(corpus) == 300 * (64 + 128 + 64 + 32 * 4 + 8));
}

TEST_CASE("clusters are compared less often the more rows there are", "[method_sizes]") {
  REQUIRE(partition_share(0, 10) == 1.0);
  REQUIRE(partition_share(1000, 10) == 1.0);
  REQUIRE(partition_share(1000000, 10) < partition_share(100000, 10));
  REQUIRE(partition_share(1000000, 1000) > partition_share(1000000, 10));
}

TEST_CASE("clusters pay where few are compared and a sample can show the recall",
          "[method_sizes]") {
  REQUIRE(partition_pays(100000, 10, 0.95));
  REQUIRE_FALSE(partition_pays(10000, 10, 0.95));
  REQUIRE_FALSE(partition_pays(100000, 10, most_recall_shown(100000) + 1e-6));
}

TEST_CASE("each method gets the filters of its own pairs", "[method_sizes]") {
  SilentTeam silent;
  const Data data = clustered_data(3000, 64, 64);
  Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  corpus.measure(silent.team);
  MineOptions options = exact_options(10);
  const double exact = choose_filters_for(corpus, options, silent.team).passed_score;
  options.method = MiningMethod::sample;
  options.candidates = 300;  // the best of a tenth reach ten times as far down
  REQUIRE(choose_filters_for(corpus, options, silent.team).passed_score > 5.0 * exact);
}
