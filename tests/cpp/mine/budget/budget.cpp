// What a job may take, where it puts what does not fit, and sizes that methods and plans share.
#include "mine/budget/budget.h"

#include <catch2/catch_test_macros.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "mine/pool/recall.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

TEST_CASE("a sample draws what was asked for, at most all rows by default", "[budget]") {
  MineOptions options;
  REQUIRE(sample_candidates(options, 1000) == 1000);
  REQUIRE(sample_candidates(options, 10000000) == 3000000);
  options.candidates = 7;
  REQUIRE(sample_candidates(options, 1000) == 7);
}

TEST_CASE("searches of a graph begin above the pool and end at a breadth", "[budget]") {
  for (const std::int64_t kept : {1, 10, 100, 5000}) {
    REQUIRE(hnsw_first_breadth(kept) > kept);
    REQUIRE(hnsw_last_breadth(kept) >= 2 * hnsw_first_breadth(kept));
    REQUIRE(hnsw_last_breadth(kept) >= kHnswWidest);
  }
}

TEST_CASE("a graph takes its codes, its links and a number for each row", "[budget]") {
  const Data data = clustered_data(300, 100, 64);
  const Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  constexpr std::int64_t kLinks = 192, kCode = 64 + 128 + 64, kLock = 40, kLevel = 4, kSlot = 8;
  REQUIRE(hnsw_bytes(corpus) == 300 * (kLinks + kCode + kLock + kLevel + kSlot));
}

TEST_CASE("clusters are compared less often the more rows there are", "[budget]") {
  REQUIRE(partition_share(0, 10) == 1.0);
  REQUIRE(partition_share(1000, 10) == 1.0);
  REQUIRE(partition_share(1000000, 10) < partition_share(100000, 10));
  REQUIRE(partition_share(1000000, 1000) > partition_share(1000000, 10));
}

TEST_CASE("clusters pay where few are compared and a sample can show the recall", "[budget]") {
  REQUIRE(partition_pays(100000, 10, 0.95));
  REQUIRE_FALSE(partition_pays(10000, 10, 0.95));
  REQUIRE_FALSE(partition_pays(100000, 10, most_recall_shown(100000) + 1e-6));
}

TEST_CASE("each method gets the filters of its own pairs", "[budget]") {
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

TEST_CASE("memory is what was asked for, or a part of the machine's", "[budget]") {
  MineOptions options;
  options.memory = 12345;
  REQUIRE(memory_budget(options) == 12345);
  options.memory = 0;
  REQUIRE(memory_budget(options) > 0);
}

TEST_CASE("scratch goes beside the table, or to the folder of temporary files", "[budget]") {
  const TemporaryFolder folder;
  REQUIRE(scratch_folder(folder / "cc3m.pairs") == (folder / "cc3m.pairs").parent_path());
  REQUIRE(std::filesystem::is_directory(scratch_folder({})));
  REQUIRE(scratch_folder(folder / "absent/cc3m.pairs") == scratch_folder({}));
}

TEST_CASE("a folder of temporary files that is none is no error before it is used", "[budget]") {
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  setenv("TMPDIR", "/nowhere/at/all", 1);
  REQUIRE_NOTHROW(scratch_folder({}));
  if (kept.empty()) {
    unsetenv("TMPDIR");
  } else {
    setenv("TMPDIR", kept.c_str(), 1);
  }
}
