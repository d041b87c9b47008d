#include "mine/bound/row_order.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "mine/bound/centres.h"
#include "mine/bound/clusters.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kLeastClusters = 64;
// Each is held against all others.
constexpr std::int64_t kMostClusters = std::int64_t{1} << 18;
constexpr std::int64_t kNear = 64;

// A chain through the clusters: each is followed by a close one that was not visited yet.
std::vector<std::uint32_t> chain(const std::vector<std::vector<std::uint32_t>>& near) {
  std::vector<bool> visited(near.size());
  std::vector<std::uint32_t> order;
  std::uint32_t next_free = 0;
  std::uint32_t current = 0;
  while (order.size() < near.size()) {
    order.push_back(current);
    visited[current] = true;
    const auto& others = near[current];
    const auto found = std::find_if(others.begin(), others.end(),
                                    [&visited](std::uint32_t c) { return !visited[c]; });
    if (found != others.end()) {
      current = *found;
      continue;
    }
    while (next_free < near.size() && visited[next_free]) ++next_free;
    current = next_free;
  }
  return order;
}

}  // namespace

RowOrder order_rows(const Corpus& corpus, const FilterPlan& plan, Team& team) {
  RowOrder order;
  for (std::int64_t row = 0; row < corpus.size(); ++row) {
    if (!corpus.is_zero(row)) order.rows.push_back(static_cast<std::uint32_t>(row));
  }
  const auto rows = static_cast<std::int64_t>(order.rows.size());
  order.begins = {0, rows};
  // Queries come first. Clusters are of the others, so that a query is put to those close to it.
  const auto first =
      std::lower_bound(order.rows.begin(), order.rows.end(), corpus.queries()) - order.rows.begin();
  const std::int64_t wanted = std::min(kMostClusters, (rows - first) / kRowsPerCluster);
  if (plan.leading.count == 0 || wanted < kLeastClusters) return order;

  const Directions directions(corpus, plan);
  const std::int64_t count = directions.count();
  const Kernel& kernel = corpus.kernel();
  const Clusters found = find_clusters(directions, order.rows, first, wanted, team);
  const std::int64_t clusters = found.count;
  const std::vector<float>& centres = found.centres;
  // Numbered along the chain; rows of a cluster keep their order.
  const std::vector<std::vector<std::uint32_t>> near =
      nearest_centres(centres, clusters, kNear, false, kernel, team);
  const std::vector<std::uint32_t> chained = chain(near);
  std::vector<std::uint32_t> number(chained.size());
  for (std::size_t i = 0; i < chained.size(); ++i)
    number[chained[i]] = static_cast<std::uint32_t>(i);
  order.near.resize(near.size());
  for (std::size_t c = 0; c < near.size(); ++c) {
    for (const std::uint32_t other : near[c]) order.near[number[c]].push_back(number[other]);
  }
  order.centres.resize(centres.size());
  for (std::int64_t c = 0; c < clusters; ++c) {
    std::copy_n(centres.begin() + c * count, count,
                order.centres.begin() + number[static_cast<std::size_t>(c)] * count);
  }
  order.begins.assign(static_cast<std::size_t>(clusters) + 1, 0);
  for (const std::uint32_t c : found.of_rows) ++order.begins[number[c] + 1];
  std::partial_sum(order.begins.begin(), order.begins.end(), order.begins.begin());
  std::vector<std::int64_t> next(order.begins.begin(), order.begins.end() - 1);
  std::vector<std::uint32_t> sorted(order.rows.size());
  for (std::size_t i = 0; i < order.rows.size(); ++i) {
    sorted[static_cast<std::size_t>(next[number[found.of_rows[i]]]++)] = order.rows[i];
  }
  order.rows = std::move(sorted);
  return order;
}

RowOrder unclustered(std::vector<std::uint32_t> rows) {
  RowOrder order;
  order.begins = {0, static_cast<std::int64_t>(rows.size())};
  order.rows = std::move(rows);
  return order;
}

RowOrder walk_along(const HardPairs& pairs, const Corpus& corpus) {
  std::vector<std::uint32_t> rows;
  std::vector<bool> passed(static_cast<std::size_t>(corpus.size()));
  const auto visit = [&](std::int64_t row) {
    const auto at = static_cast<std::size_t>(row);
    if (passed[at]) return false;
    passed[at] = true;
    if (corpus.is_zero(row)) return false;
    rows.push_back(static_cast<std::uint32_t>(row));
    return true;
  };
  for (std::int64_t start = 0; start < corpus.size(); ++start) {
    if (!visit(start)) continue;
    for (std::int64_t row = start; row < pairs.size();) {
      std::int64_t rank = 0;
      while (rank < pairs.count(row) && !visit(pairs.id(row, rank))) ++rank;
      if (rank == pairs.count(row)) break;
      row = pairs.id(row, rank);
    }
  }
  return unclustered(std::move(rows));
}

std::vector<std::vector<std::uint32_t>> near_clusters(const RowOrder& order, std::int64_t count,
                                                      bool absolute, const Kernel& kernel,
                                                      Team& team) {
  return nearest_centres(order.centres, static_cast<std::int64_t>(order.near.size()), count,
                         absolute, kernel, team);
}

std::vector<std::uint32_t> closest_clusters(const Corpus& corpus, const FilterPlan& plan,
                                            const RowOrder& order,
                                            const std::vector<std::uint32_t>& rows,
                                            std::int64_t count, Team& team) {
  const Directions directions(corpus, plan);
  const std::vector<float> points = directions.read(rows, team);
  const auto clusters = static_cast<std::int64_t>(order.near.size());
  return closest_centres(
      points, static_cast<std::int64_t>(rows.size()),
      ProductPanels(order.centres.data(), clusters, directions.count(), corpus.kernel()), count,
      corpus.kernel(), team, false);
}

void show_order(const RowOrder& order, TensorColumns& columns) {
  columns.show("order.rows", order.rows);
  columns.show("order.begins", order.begins);
  columns.show("order.centres", order.centres);
  std::vector<std::uint32_t> near;  // as many for each cluster
  for (const auto& own : order.near) near.insert(near.end(), own.begin(), own.end());
  columns.keep("order.near", std::move(near));
}

RowOrder read_order(const TensorFile& file, std::int64_t rows, std::int64_t directions) {
  RowOrder order;
  order.rows = read_column<std::uint32_t>(file, "order.rows");
  order.begins = read_column<std::int64_t>(file, "order.begins");
  order.centres = read_column<float>(file, "order.centres");
  const auto near = read_column<std::uint32_t>(file, "order.near");

  std::vector<bool> seen(static_cast<std::size_t>(rows));
  for (const std::uint32_t row : order.rows) {
    require_sound(row < seen.size() && !seen[row], "its order of rows is none");
    seen[row] = true;
  }
  require_sound(order.begins.size() >= 2 && order.begins.front() == 0 &&
                    order.begins.back() == static_cast<std::int64_t>(order.rows.size()) &&
                    std::is_sorted(order.begins.begin(), order.begins.end()),
                "its clusters are not those of an order");
  if (near.empty()) return order;
  const std::size_t clusters = order.begins.size() - 1;
  std::int64_t values = directions;
  require_sound(checked_multiply(values, static_cast<std::int64_t>(clusters)) &&
                    static_cast<std::int64_t>(order.centres.size()) == values,
                "the centres of its clusters have another length");
  require_sound(
      near.size() % clusters == 0 && *std::max_element(near.begin(), near.end()) < clusters,
      "its clusters name others that there are not");
  const auto each = static_cast<std::ptrdiff_t>(near.size() / clusters);
  for (auto own = near.begin(); own != near.end(); own += each) {
    order.near.emplace_back(own, own + each);
  }
  return order;
}

}  // namespace helip::mining
