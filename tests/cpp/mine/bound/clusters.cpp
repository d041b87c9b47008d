// Clusters of close rows, against centres looked through one by one.
#include "mine/bound/clusters.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "mine/bound/row_order.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

TEST_CASE("very many rows are put in clusters group by group", "[clusters]") {
  SilentTeam silent, one(1);
  constexpr std::int64_t kRows = 4200 * kRowsPerCluster;
  const Data data{Matrix(clustered_values(kRows, 16, 5000, 0.3, 3), kRows, 16, DType::float32),
                  Matrix(clustered_values(kRows, 48, 5000, 0.3, 4), kRows, 48, DType::float32)};
  Corpus corpus(data.image.view(), data.text.view(), {}, select_kernel());
  corpus.measure(silent.team);
  const FilterPlan plan = choose_filters(corpus, 5, silent.team);
  const RowOrder order = order_rows(corpus, plan, silent.team);
  REQUIRE(order.near.size() > 4000);
  REQUIRE(order.near.size() < 4400);
  REQUIRE(order_rows(corpus, plan, one.team).rows == order.rows);

  // A row's cluster is the one whose centre is closest, but for a few.
  std::vector<std::uint32_t> some;
  std::vector<std::uint32_t> own;
  for (std::uint32_t c = 0; c < order.near.size(); c += 5) {
    if (order.begins[c] == order.begins[c + 1]) continue;
    some.push_back(order.rows[static_cast<std::size_t>(order.begins[c])]);
    own.push_back(c);
  }
  const auto closest = closest_clusters(corpus, plan, order, some, 1, silent.team);
  std::size_t same = 0;
  for (std::size_t i = 0; i < some.size(); ++i) same += closest[i] == own[i] ? 1 : 0;
  INFO(same << " of " << some.size());
  REQUIRE(10 * same >= 9 * some.size());
}
