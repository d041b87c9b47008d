// Thresholds along a table: none exceeds what a target keeps in the end.
#include "mine/pool/updated_pools.h"

#include <catch2/catch_test_macros.hpp>
#include <numeric>

#include "mine/pool/pools.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr std::int64_t kRows = 900, kOld = 800, kPairs = 8;

// Columns of the first rows.
MatrixView first_rows(const Matrix& matrix, std::int64_t rows) {
  MatrixView view = matrix.view();
  view.rows = rows;
  return view;
}

}  // namespace

TEST_CASE("no threshold along a table exceeds the last score that a target keeps",
          "[updated_pools]") {
  const DType dtype = DType::float32;
  for (const double noise : {0.3, 1.0}) {
    INFO("noise " << noise);
    const Data data = clustered_data(kRows, 24, 16, dtype, 1, 30, noise);
    const HardPairs before =
        mine(first_rows(data.image, kOld), first_rows(data.text, kOld), exact_options(kPairs));
    SilentTeam silent;
    Corpus corpus(data.image.view(), data.text.view(), rules_of(exact_options(kPairs)),
                  select_kernel());
    corpus.measure(silent.team);
    const FilterPlan plan = choose_filters(corpus, kPairs, silent.team, {FilteredPairs::few, 0.2});
    const RowOrder order = walk_along(before, corpus);
    const Codes codes(corpus, plan, order, {}, silent.team);
    // New rows, and old ones whose pools begin anew.
    std::vector<std::uint32_t> rows(static_cast<std::size_t>(kRows - kOld + 50));
    std::iota(rows.begin(), rows.end(), static_cast<std::uint32_t>(kOld - 50));
    Pools pools(corpus, rows, kPairs, 0, nullptr);
    const std::vector<std::uint8_t> stale(static_cast<std::size_t>(corpus.size()));
    TableThresholds(corpus, codes, order, before, stale).raise(rows, pools, silent.team);
    const PlainMiner plain(data, exact_options(kPairs));
    std::int64_t raised = 0;
    for (std::size_t t = 0; t < rows.size(); ++t) {
      INFO("row " << rows[t]);
      const auto threshold = static_cast<double>(pools.threshold(static_cast<std::int64_t>(t)));
      const auto pool = plain.pool(rows[t]);
      const bool full = static_cast<std::int64_t>(pool.size()) >= kPairs;
      REQUIRE(threshold <= (full ? pool[kPairs - 1].score : 0.0));
      raised += threshold > 0.0 ? 1 : 0;
    }
    REQUIRE(raised > static_cast<std::int64_t>(rows.size()) * 3 / 4);
  }
}
