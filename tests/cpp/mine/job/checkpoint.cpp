// Jobs of partition that are stopped and go on: wherever that was, the table has the bytes
// of a single run.
#include "mine/job/checkpoint.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "helip/parts.h"
#include "io/manifest.h"
#include "mine/bound/codes.h"
#include "mine/budget/budget.h"
#include "mine/job/report.h"
#include "support/campaign.h"
#include "support/data_store.h"
#include "support/expect_error.h"
#include "support/flip_byte.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::testing;
using helip::mining::checkpoint_folder;
using helip::mining::method_of_checkpoint;

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kRows = 25000;  // enough for clusters

Data scattered(std::int64_t rows, std::int64_t clusters, double noise, unsigned seed = 1) {
  return clustered_data(rows, 48, 32, DType::float32, seed, clusters, noise);
}

MineOptions options_of(MiningMethod method, std::int64_t k = 10, double checkpoint = 0.0) {
  MineOptions options = exact_options(k);
  options.method = method;
  options.checkpoint = checkpoint;
  return options;
}

// Whether it was stopped by the callback.
bool stopped(const EmbeddingStore& store, const MineOptions& options, const fs::path& out,
             const ProgressCallback& progress) {
  try {
    mine(store, options, progress, out);
    return false;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::cancelled) throw;
    REQUIRE(!fs::exists(out));
    return true;
  }
}

// Stops where `stops` says so of a stage that ends; asked once, however often the stage says it.
ProgressCallback at_an_end(std::function<bool(const std::string&)> stops) {
  return [stops = std::move(stops), in_stage = false](const Progress& progress) mutable {
    const bool ends = in_stage && progress.done == progress.total;
    in_stage = progress.done < progress.total;
    return !ends || !stops(progress.stage);
  };
}

// When the first round is over.
bool in_first_round(const Progress& progress) { return progress.stage != "refine"; }

fs::path state_in(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("state-")) return entry.path();
  }
  FAIL("no state");
  return {};
}

}  // namespace

TEST_CASE("a partition goes on after each stage in which it was stopped", "[checkpoint]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", scattered(kRows, 400, 0.9));
  MineOptions options = options_of(MiningMethod::partition);
  SECTION("plain") {}
  SECTION("on disk, by one thread") {
    options.memory = 1;
    options.threads = 1;
  }
  SECTION("with rules that keep pairs out") {
    options.image_max = options.text_max = 0.9;
    options.skip = 2;
    options.min_score = 0.1;
  }
  MineOptions plain = options;
  plain.checkpoint = std::numeric_limits<double>::infinity();
  const HardPairs whole = mine(store, plain, {}, folder / "whole");
  REQUIRE(report_of(whole)["partition"]["near"] > 16);  // it widens
  REQUIRE(!fs::exists(checkpoint_folder(folder / "whole")));
  std::map<std::string, int> ends;
  const auto at_two_of_each =
      at_an_end([&](const std::string& stage) { return ++ends[stage] <= 2; });
  int stops = 0;
  while (stopped(store, options, folder / "p", at_two_of_each)) {
    REQUIRE(++stops < 40);
    // A thread or ten, what was begun goes on.
    options.threads = 1 + stops % 3;
  }
  REQUIRE(stops >= 6);
  for (const char* stage : {"check", "encode", "measure", "mine", "refine", "write"}) {
    INFO(stage);
    REQUIRE(ends[stage] >= 1);
  }
  REQUIRE(ends["mine"] >= 2);  // before clusters are widened, and after
  REQUIRE(bytes_of(HardPairs::open(folder / "p")) == bytes_of(whole));
  REQUIRE(!fs::exists(checkpoint_folder(folder / "p")));
}

TEST_CASE("a job that was begun without codes goes on with them, and the reverse", "[checkpoint]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", scattered(kRows, 400, 0.9));
  MineOptions options = options_of(MiningMethod::partition);
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  for (int i = 0; i < 4; ++i) {
    // Made by the first, found by the others.
    const fs::path out = folder / ("p" + std::to_string(i));
    options.codes = i % 2 == 0 ? folder / "codes" : fs::path();
    REQUIRE(stopped(store, options, out, in_first_round));
    options.codes = i % 2 == 1 ? folder / "codes" : fs::path();
    REQUIRE(bytes_of(mine(store, options, {}, out)) == bytes_of(whole));
  }
}

TEST_CASE("what was saved by places is not read by the places of other codes", "[checkpoint]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", scattered(kRows, 400, 0.9));
  MineOptions options = options_of(MiningMethod::partition);
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  REQUIRE(stopped(store, options, folder / "p", in_first_round));
  // Codes of the same job whose order is another, as another build may make them.
  {
    const ProgressCallback silent;
    Team team(2, silent);
    mining::Corpus corpus(store.image(), store.text(), mining::rules_of(options),
                          mining::select_kernel());
    corpus.measure(team);
    const mining::FilterPlan plan = mining::choose_filters_for(corpus, options, team);
    mining::RowOrder order = mining::order_rows(corpus, plan, team);
    std::reverse(order.rows.begin(), order.rows.end());
    mining::KeptCodes kept(
        {folder / "codes"}, corpus, mining::codes_identity(store, options, false),
        [](const OrderedJson&) { return false; }, silent);
    const mining::Codes codes(corpus, plan, order, {}, team, &kept);
    kept.publish();
  }
  options.codes = folder / "codes";
  REQUIRE(bytes_of(mine(store, options, {}, folder / "p")) == bytes_of(whole));
}

TEST_CASE("a partition goes on within a round", "[checkpoint]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", scattered(kRows, 400, 0.9));
  MineOptions options = options_of(MiningMethod::partition, 20);
  options.threads = 1;
  options.collapse = is_campaign() ? GENERATE(Collapse::none, Collapse::text)
                                   : Collapse::text;  // which has more to keep
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  int stops = 0, inside = 0;
  for (;; ++stops) {
    REQUIRE(stops < 100);
    std::string stage;
    std::int64_t first = 0;
    const bool again = stopped(store, options, folder / "p", [&](const Progress& progress) {
      if (progress.stage != stage) {
        stage = progress.stage;
        first = progress.done;
        inside += (stage == "mine" || stage == "refine") && first > 0 ? 1 : 0;
      }
      const bool works = stage == "mine" || stage == "refine";
      return !works || progress.done <= first + progress.total / (is_campaign() ? 8 : 3);
    });
    if (!again) break;
  }
  REQUIRE(stops >= 3);
  REQUIRE(inside >= 2);
  REQUIRE(bytes_of(HardPairs::open(folder / "p")) == bytes_of(whole));
}

TEST_CASE("a checkpoint of another job is refused with what differs", "[checkpoint]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", scattered(kRows, 400, 0.9));
  const MineOptions options = options_of(MiningMethod::partition);
  REQUIRE(stopped(store, options, folder / "p", in_first_round));
  const fs::path left = checkpoint_folder(folder / "p");
  REQUIRE(method_of_checkpoint(left) == MiningMethod::partition);
  const auto refuse = [&](const EmbeddingStore& from, const MineOptions& other,
                          const std::string& words) {
    expect_error(ErrorCode::mismatch, words, [&] { mine(from, other, {}, folder / "p"); });
  };
  MineOptions other = options;
  other.k = 11;
  refuse(store, other, "k 10, here 11); go on as it was begun, or remove that folder");
  other = options;
  other.seed = 3;
  other.recall = 0.9;
  refuse(store, other, "recall 0.95, here 0.9; seed 0, here 3");
  other = options;
  other.method = MiningMethod::exact;
  refuse(store, other, "method \"partition\", here \"exact\"");
  other.parts = 3;
  refuse(store, other, "of method 'partition', now in 3 parts");
  refuse(store_of(folder / "other", scattered(kRows, 400, 0.9, 2)), options, "store \"");
  {
    const ForcedKernel portable("portable");
    refuse(store, options, "kernel \"");
  }
  // What was begun decides what automatic means.
  other = options;
  other.method = MiningMethod::automatic;
  REQUIRE(report_of(mine(store, other, {}, folder / "p"))["partition"]["near"] > 16);
  REQUIRE(!fs::exists(left));
}

TEST_CASE("a damaged checkpoint is refused, whichever byte it is", "[checkpoint]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", scattered(kRows, 400, 0.9));
  const MineOptions options = options_of(MiningMethod::partition, 5);
  REQUIRE(stopped(store, options, folder / "p", in_first_round));
  const fs::path left = checkpoint_folder(folder / "p");
  const auto refuse = [&] {
    expect_error(ErrorCode::corrupt, "; remove that folder, and the job begins again",
                 [&] { mine(store, options, {}, folder / "p"); });
  };
  for (const fs::path& file : {left / "manifest.json", state_in(left)}) {
    const std::uintmax_t size = fs::file_size(file);
    for (int i = 0; i < 24; ++i) {
      const std::uintmax_t at = size * static_cast<std::uintmax_t>(i) / 24;
      flip_byte(file, at);
      refuse();
      flip_byte(file, at);
    }
  }
  const fs::path state = state_in(left);
  fs::rename(state, folder / "away");
  expect_error(ErrorCode::corrupt, "state-", [&] { mine(store, options, {}, folder / "p"); });
  fs::rename(folder / "away", state);
  mine(store, options, {}, folder / "p");
}

TEST_CASE("numbers that no job can have are damage, whatever the checksums say", "[checkpoint]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", scattered(kRows, 400, 0.9));
  const MineOptions options = options_of(MiningMethod::partition, 5);
  REQUIRE(stopped(store, options, folder / "p", in_first_round));
  const fs::path left = checkpoint_folder(folder / "p");
  const Manifest sound = read_manifest(left, "helip.mining_checkpoint");
  const auto refuse = [&](const char* words, const Manifest& manifest) {
    write_manifest(left, manifest);
    expect_error(ErrorCode::corrupt, words, [&] { mine(store, options, {}, folder / "p"); });
  };
  for (const Json& value : {Json(-1), Json(1e300), Json(INT64_MAX)}) {
    Manifest changed = sound;
    changed.attributes["progress"]["next"] = value;
    refuse(value.is_number_float() ? "whole number" : "next is ", changed);
  }
}

TEST_CASE("what a process left that was killed while it saved is removed", "[checkpoint]") {
  const TemporaryFolder folder;
  const EmbeddingStore store = store_of(folder / "s", scattered(kRows, 400, 0.9));
  const MineOptions options = options_of(MiningMethod::partition, 5);
  const HardPairs whole = mine(store, options, {}, folder / "whole");
  const fs::path left = checkpoint_folder(folder / "p");
  fs::create_directories(left);
  std::ofstream(left / "state-0.safetensors") << "half";
  std::ofstream(left / ".pending-1-2") << "half";
  std::ofstream(left / "notes.txt") << "not ours";
  REQUIRE(bytes_of(mine(store, options, {}, folder / "p")) == bytes_of(whole));
  REQUIRE(fs::exists(left / "notes.txt"));
  REQUIRE(std::distance(fs::directory_iterator(left), fs::directory_iterator()) == 1);
}

TEST_CASE("short jobs, those of other methods and of bare arrays keep no checkpoint",
          "[checkpoint]") {
  const TemporaryFolder folder;
  const Data data = scattered(600, 60, 0.8);
  const EmbeddingStore store = store_of(folder / "s", data);
  const auto nothing_there = [&](const Progress&) {
    REQUIRE(!fs::exists(checkpoint_folder(folder / "p")));
    return true;
  };
  const auto mined = [&](const MineOptions& options) {
    mine(store, options, nothing_there, folder / "p");
    fs::remove_all(folder / "p");
  };
  for (const MiningMethod method : {MiningMethod::exact, MiningMethod::hnsw}) {
    mined(options_of(method, 5));
  }
  mined(options_of(MiningMethod::partition, 5, 60.0));
  mine(data.image.view(), data.text.view(), options_of(MiningMethod::partition, 5), nothing_there,
       folder / "p");
  MineOptions options = options_of(MiningMethod::partition, 5, -1.0);
  expect_error(ErrorCode::invalid_argument, "checkpoint is -1", [&] { mined(options); });
  options.checkpoint = std::numeric_limits<double>::quiet_NaN();
  expect_error(ErrorCode::invalid_argument, "checkpoint is nan", [&] { mined(options); });
}
