// Clusters of close rows, against centres looked through one by one.
#include "mine/bound/clusters.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "mine/bound/row_order.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

TEST_CASE("the nearest centres are those of largest product, itself first", "[clusters]") {
  SilentTeam silent;
  constexpr std::int64_t kCentres = 300, kWidth = 24, kCount = 7;
  std::vector<double> values = clustered_values(kCentres, kWidth, 20, 0.5, 3);
  std::vector<float> centres;
  for (std::int64_t c = 0; c < kCentres; ++c) {
    const double* row = values.data() + c * kWidth;
    const double length = std::sqrt(std::inner_product(row, row + kWidth, row, 0.0));
    for (std::int64_t d = 0; d < kWidth; ++d)
      centres.push_back(static_cast<float>(row[d] / length));
  }
  const auto product = [&](std::int64_t a, std::int64_t b, bool absolute) {
    double sum = 0.0;
    for (std::int64_t d = 0; d < kWidth; ++d) {
      sum += static_cast<double>(centres[static_cast<std::size_t>(a * kWidth + d)]) *
             centres[static_cast<std::size_t>(b * kWidth + d)];
    }
    return absolute ? std::abs(sum) : sum;
  };
  for (const Kernel* kernel : available_kernels()) {
    for (const bool absolute : {false, true}) {
      INFO(kernel->name << ", absolute " << absolute);
      const auto near = nearest_centres(centres, kCentres, kCount, absolute, *kernel, silent.team);
      REQUIRE(near.size() == kCentres);
      for (std::int64_t c = 0; c < kCentres; ++c) {
        const auto& own = near[static_cast<std::size_t>(c)];
        REQUIRE(own.size() == kCount);
        REQUIRE(own.front() == c);
        std::vector<double> all;
        for (std::int64_t other = 0; other < kCentres; ++other) {
          all.push_back(product(c, other, absolute));
        }
        std::sort(all.begin(), all.end(), std::greater<>());
        for (std::size_t rank = 0; rank < own.size(); ++rank) {
          REQUIRE(std::abs(product(c, own[rank], absolute) - all[rank]) < 1e-5);
        }
      }
    }
  }
}

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
