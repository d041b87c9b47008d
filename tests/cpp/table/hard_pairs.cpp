#include "helip/hard_pairs.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "io/column_writer.h"
#include "support/expect_error.h"
#include "support/table_samples.h"
#include "support/temporary_folder.h"
#include "table/pair_columns.h"

using namespace helip;
namespace fs = std::filesystem;

TEST_CASE("a saved table is the table that was saved") {
  const TemporaryFolder folder;
  const HardPairs pairs = SampleTable().make({"f", "kf", R"({"k":2})", R"({"pairs_scored":5})"});
  pairs.save(folder / "p");
  const HardPairs read = HardPairs::open(folder / "p");
  read.verify();
  REQUIRE(read.size() == 4);
  CHECK(read.ids().dtype == DType::int32);
  for (std::int64_t i = 0; i < 4; ++i) {
    CHECK(read.count(i) == pairs.count(i));
    for (std::int64_t r = 0; r < 2; ++r) {
      CHECK(read.id(i, r) == pairs.id(i, r));
      CHECK(read.score(i, r) == pairs.score(i, r));
    }
  }
  CHECK(read.origin().fingerprint == "f");
  CHECK(read.origin().data_fingerprint == "kf");
  CHECK(read.origin().options_json == R"({"k":2})");
  CHECK(read.origin().report_json == R"({"pairs_scored":5})");
  expect_error(ErrorCode::invalid_argument, "already holds", [&] { pairs.save(folder / "p"); });
}

TEST_CASE("a table that breaks a rule is refused with the place") {
  const auto refuse = [](const std::string& part, auto change) {
    SampleTable table;
    change(table);
    expect_error(ErrorCode::invalid_argument, part, [&] { (void)table.make(); });
  };
  refuse("target 0, rank 1 has the id 4", [](SampleTable& t) { t.ids[1] = 4; });
  refuse("target 2, rank 0 names the target itself", [](SampleTable& t) { t.ids[4] = 2; });
  refuse("target 1, rank 1 lies beyond", [](SampleTable& t) { t.ids[3] = 3; });
  refuse("target 3, rank 0 lies beyond", [](SampleTable& t) { t.scores[6] = 1; });
  refuse("target 1 has the count 3", [](SampleTable& t) { t.counts[1] = 3; });
  refuse("not finite", [](SampleTable& t) { t.scores[0] = NAN; });
}

TEST_CASE("a flipped bit in the ids shows when the table is opened") {
  const TemporaryFolder folder;
  SampleTable().make().save(folder / "p");
  FILE* file = std::fopen((folder / "p/shard-00000.safetensors").c_str(), "r+b");
  std::fseek(file, 4096, SEEK_SET);
  std::fputc(3, file);
  std::fclose(file);
  expect_error(ErrorCode::corrupt, "\"ids\"", [&] { (void)HardPairs::open(folder / "p"); });
}

TEST_CASE("a table with an id that is no row is refused when it is opened, whatever its checksum") {
  const TemporaryFolder folder;
  for (const std::int32_t id : {4, -1, 0x7fffffff, 0}) {  // of target 0, in a table of 4
    const fs::path path = folder / ("p" + std::to_string(id));
    const SampleTable table;
    std::vector<std::int32_t> ids(table.ids.begin(), table.ids.end());
    ids[0] = id;
    ColumnWriter writer(path, pair_manifest("helip.hard_pairs", 4, 2), false);
    writer.append(4, {ids.data(), table.scores.data(), table.counts.data()}, nullptr);
    writer.close([](Manifest& manifest) { manifest.attributes = attributes_of({}); });
    expect_error(
        ErrorCode::corrupt,
        id == 0 ? "target 0, rank 0 names the target itself" : "target 0, rank 0 has the id",
        [&] { (void)HardPairs::open(path); });
  }
}

TEST_CASE("a score that breaks a rule is found by verify, and does not keep a table from opening") {
  const TemporaryFolder folder;
  SampleTable table;
  std::vector<std::int32_t> ids(table.ids.begin(), table.ids.end());
  table.scores[0] = NAN;
  ColumnWriter writer(folder / "p", pair_manifest("helip.hard_pairs", 4, 2), false);
  writer.append(4, {ids.data(), table.scores.data(), table.counts.data()}, nullptr);
  writer.close([](Manifest& manifest) { manifest.attributes = attributes_of({}); });
  const HardPairs pairs = HardPairs::open(folder / "p");
  expect_error(ErrorCode::corrupt, "target 0, rank 0 has a score that is not finite",
               [&] { pairs.verify(); });
}

TEST_CASE("a flipped bit in the scores is found by verify") {
  const TemporaryFolder folder;
  SampleTable().make().save(folder / "p");
  FILE* file = std::fopen((folder / "p/shard-00000.safetensors").c_str(), "r+b");
  std::fseek(file, 8192, SEEK_SET);
  std::fputc(3, file);
  std::fclose(file);
  const HardPairs pairs = HardPairs::open(folder / "p");
  expect_error(ErrorCode::corrupt, "\"scores\"", [&] { pairs.verify(); });
}

TEST_CASE("a table that was moved from, or never made, has no rows") {
  HardPairs pairs = SampleTable().make();
  const HardPairs taken = std::move(pairs);
  HardPairs assigned;
  assigned = std::move(pairs);  // NOLINT(bugprone-use-after-move)
  for (const HardPairs& empty : {pairs, assigned, HardPairs()}) {
    CHECK(empty.size() == 0);
    CHECK(empty.k() == 0);
    CHECK(empty.ids().rows == 0);
    CHECK(empty.origin().fingerprint.empty());
    CHECK(empty.origin().options_json == "{}");
    CHECK(empty.statistics().targets == 0);
    CHECK_NOTHROW(empty.verify());
    const TemporaryFolder folder;
    expect_error(ErrorCode::invalid_argument, "without columns", [&] { empty.save(folder / "p"); });
  }
  CHECK(taken.id(0, 1) == 2);
  HardPairs self = taken;
  HardPairs& same = self;
  self = std::move(same);
  CHECK(self.size() == 4);
}

TEST_CASE("arrays without data, or whose rows overlap, are refused") {
  const SampleTable t;
  const MatrixView ids = MatrixView::of(t.ids.data(), 4, 2);
  const MatrixView scores = MatrixView::of(t.scores.data(), 4, 2);
  const MatrixView counts = MatrixView::of(t.counts.data(), 4, 1);
  const auto refuse = [](const std::string& part, MatrixView i, MatrixView s, MatrixView c) {
    expect_error(ErrorCode::invalid_argument, part,
                 [&] { (void)HardPairs::from_arrays(i, s, c, {}); });
  };
  const auto changed = [](MatrixView view, const void* data, std::int64_t stride) {
    view.data = data;
    view.row_stride = stride;
    return view;
  };
  refuse("ids of shape [4, 2] has no data", changed(ids, nullptr, 16), scores, counts);
  refuse("scores of shape [4, 2] has no data", ids, changed(scores, nullptr, 8), counts);
  refuse("counts of shape [4, 1] has no data", ids, scores, changed(counts, nullptr, 4));
  refuse("ids has a stride of 8", changed(ids, t.ids.data(), 8), scores, counts);
  refuse("counts has a stride of 0", ids, scores, changed(counts, t.counts.data(), 0));
  refuse("scores has a stride of -8", ids, changed(scores, t.scores.data(), -8), counts);
}

TEST_CASE("what takes long on a table tells how far it is, and stops when it is asked to") {
  const TemporaryFolder folder;
  const SampleTable sample;
  HardPairs pairs;
  const auto follow = [](const std::string& stage, auto call) {
    std::int64_t done = 0;
    std::int64_t total = 0;
    call([&](const Progress& state) {
      CHECK(state.stage == stage);
      CHECK(state.done > done);
      done = state.done;
      total = state.total;
      return true;
    });
    CHECK(done == total);
    CHECK(done > 0);
    expect_error(ErrorCode::cancelled, "stopped in stage '" + stage + "'",
                 [&] { call([](const Progress&) { return false; }); });
  };
  const auto rows = static_cast<std::int64_t>(sample.counts.size());
  follow("copy", [&](const ProgressCallback& progress) {
    pairs = HardPairs::from_arrays(MatrixView::of(sample.ids.data(), rows, 2),
                                   MatrixView::of(sample.scores.data(), rows, 2),
                                   MatrixView::of(sample.counts.data(), rows, 1), {}, progress);
  });
  int copies = 0;
  follow("save", [&](const ProgressCallback& progress) {
    pairs.save(folder / ("p" + std::to_string(copies++)), progress);
  });
  CHECK_FALSE(fs::exists(folder / "p1"));
  follow("open",
         [&](const ProgressCallback& progress) { (void)HardPairs::open(folder / "p0", progress); });
  follow("verify", [&](const ProgressCallback& progress) { pairs.verify(progress); });
  std::ofstream(folder / "a.csv") << "0,1\n1,0";
  follow("read", [&](const ProgressCallback& progress) {
    (void)HardPairs::open_csv(folder / "a.csv", -1, progress);
  });
}
