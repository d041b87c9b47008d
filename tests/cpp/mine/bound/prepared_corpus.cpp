// A corpus made ready for sweeps, and where its codes lie.
#include "mine/bound/prepared_corpus.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <numeric>

#include "mine/pool/pools.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr std::int64_t kMuch = std::int64_t{1} << 40;

// Every pair of the rows that are not zero, by a sweep.
std::vector<std::vector<Scored>> pools_of(const Corpus& corpus, PreparedCorpus& prepared,
                                          Team& team) {
  SweepJob job;
  job.mutual = true;
  job.targets.resize(prepared.order().rows.size());
  std::iota(job.targets.begin(), job.targets.end(), 0U);
  Pools pools(corpus, prepared.order().rows, 5, 0, nullptr);
  prepared.sweep().run(job, pools, team);
  std::vector<std::vector<Scored>> sorted(static_cast<std::size_t>(corpus.size()));
  for (std::int64_t t = 0; t < pools.size(); ++t) {
    sorted[prepared.order().rows[static_cast<std::size_t>(t)]] = pools.sorted(t);
  }
  return sorted;
}

bool same(const std::vector<std::vector<Scored>>& a, const std::vector<std::vector<Scored>>& b) {
  const auto equal = [](const Scored& x, const Scored& y) {
    return x.score == y.score && x.id == y.id;
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](const auto& x, const auto& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), equal);
  });
}

}  // namespace

TEST_CASE("filters pay for many rows and targets of not too many dimensions", "[prepared_corpus]") {
  const auto pay = [](std::int64_t rows, std::int64_t targets) {
    const Data data = clustered_data(rows, 4, 4);
    const Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
    return filters_pay(corpus, targets);
  };
  REQUIRE(pay(kLeastRowsToFilter, kLeastTargetsToFilter));
  REQUIRE_FALSE(pay(kLeastRowsToFilter - 1, kLeastTargetsToFilter));
  REQUIRE_FALSE(pay(kLeastRowsToFilter, kLeastTargetsToFilter - 1));
}

TEST_CASE("codes stay in memory where they take half of it or leave room", "[prepared_corpus]") {
  const Data data = clustered_data(500, 20, 12);
  const Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  const FilterPlan plan;
  const std::int64_t codes = 500 * Codes::bytes_per_row(corpus, plan);
  const CodePlacement half = place_codes(corpus, plan, kMuch, 2 * codes);
  REQUIRE_FALSE(half.on_disk);
  REQUIRE(half.left == codes);
  REQUIRE(place_codes(corpus, plan, kMuch, 2 * codes - 2).on_disk);
  REQUIRE_FALSE(place_codes(corpus, plan, 100, codes + 100).on_disk);
  const CodePlacement disk = place_codes(corpus, plan, 100, codes + 99);
  REQUIRE(disk.on_disk);
  REQUIRE(disk.code_bytes == codes);
  REQUIRE(disk.left == codes + 99);  // all of the memory
}

TEST_CASE("codes that were dropped are made again, in memory or on disk", "[prepared_corpus]") {
  const TemporaryFolder folder;
  SilentTeam silent;
  const Data data = clustered_data(600, 24, 16);
  Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  corpus.measure(silent.team);
  const auto prepared = [&](std::int64_t memory) {
    FilterPlan plan = choose_filters(corpus, 5, silent.team);
    RowOrder order = order_rows(corpus, plan, silent.team);
    return PreparedCorpus(corpus, std::move(plan), std::move(order), 0, memory, folder / "",
                          silent.team);
  };
  PreparedCorpus in_memory = prepared(kMuch), on_disk = prepared(1);
  const auto pools = pools_of(corpus, in_memory, silent.team);
  REQUIRE(same(pools, pools_of(corpus, on_disk, silent.team)));
  REQUIRE(in_memory.memory_left() < kMuch);
  in_memory.drop_codes();
  REQUIRE(same(pools, pools_of(corpus, in_memory, silent.team)));
}

TEST_CASE("places are those of the rows, ascending, without zero rows", "[prepared_corpus]") {
  SilentTeam silent;
  auto values = clustered_values(300, 8, 4, 0.5, 1);
  std::fill_n(values.begin() + 5 * 8, 8, 0.0);
  const Data data{Matrix(values, 300, 8, DType::float32), Matrix(values, 300, 8, DType::float32)};
  Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  corpus.measure(silent.team);
  const PreparedCorpus prepared(corpus, FilterPlan(), order_rows(corpus, FilterPlan(), silent.team),
                                0, kMuch, {}, silent.team);
  const auto places = prepared.places_of({9, 5, 2, 299});
  REQUIRE(std::is_sorted(places.begin(), places.end()));
  std::vector<std::uint32_t> rows;
  for (const std::uint32_t place : places) rows.push_back(prepared.order().rows[place]);
  std::sort(rows.begin(), rows.end());
  REQUIRE(rows == std::vector<std::uint32_t>{2, 9, 299});
}
