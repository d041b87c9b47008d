#include "row_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "draw.h"
#include "product_panels.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kLeastClusters = 64;
constexpr std::int64_t kMostClusters = 8192;
constexpr std::int64_t kSamplePerCluster = 8;
constexpr int kIterations = 3;
constexpr std::int64_t kNear = 64;
constexpr std::int64_t kGrain = 4 * kProductRows;
constexpr std::uint64_t kStream = 0x6f72'6465'72ULL;

// Coordinates of rows along the leading directions, of unit length.
class Directions {
 public:
  Directions(const Corpus& corpus, const FilterPlan& plan)
      : corpus_(corpus),
        plan_(plan),
        panels_(plan.leading.vectors.data(), plan.leading.count, plan.leading.dimensions,
                corpus.kernel()) {}

  std::int64_t count() const { return panels_.count(); }

  // out [rows.size, count()]
  void read(const std::uint32_t* rows, std::int64_t size, float* out) const {
    const std::int64_t depth = panels_.depth();
    WeightedRow reader(corpus_, plan_.weight);
    std::vector<float> some(static_cast<std::size_t>(kProductRows * depth));
    PackedRows packed(depth, corpus_.kernel());
    std::vector<float> products(static_cast<std::size_t>(kProductRows * panels_.padded()));
    for (std::int64_t first = 0; first < size; first += kProductRows) {
      const std::int64_t present = std::min(kProductRows, size - first);
      for (std::int64_t r = 0; r < present; ++r) {
        reader.read(rows[first + r], some.data() + r * depth);
      }
      packed.pack(some.data(), present);
      panels_.multiply(packed.data(), packed.tiles(), products.data());
      for (std::int64_t r = 0; r < present; ++r) {
        const float* from = products.data() + r * panels_.padded();
        double sum = 0.0;
        for (std::int64_t d = 0; d < count(); ++d) sum += static_cast<double>(from[d]) * from[d];
        const auto factor = static_cast<float>(sum > 0.0 ? 1.0 / std::sqrt(sum) : 0.0);
        for (std::int64_t d = 0; d < count(); ++d)
          out[(first + r) * count() + d] = from[d] * factor;
      }
    }
  }

 private:
  const Corpus& corpus_;
  const FilterPlan& plan_;
  const ProductPanels panels_;
};

// Where the largest of `count` values is. The maximum first, in lanes, then its place: two loops
// that a compiler makes vectors of. `values` has padding of zeros to whole tiles, which win where
// all values are negative: then any place does.
std::uint32_t place_of_largest(const float* values, std::int64_t count, std::int64_t padded) {
  float most[kTileColumns];
  std::copy_n(values, kTileColumns, most);
  for (std::int64_t c = kTileColumns; c < padded; c += kTileColumns) {
    for (int lane = 0; lane < kTileColumns; ++lane) {
      most[lane] = std::max(most[lane], values[c + lane]);
    }
  }
  const float largest = *std::max_element(most, most + kTileColumns);
  const std::int64_t found = std::find(values, values + count, largest) - values;
  return static_cast<std::uint32_t>(std::min(found, count - 1));
}

// The closest centre of each direction. out [rows]
void assign(const float* directions, std::int64_t rows, const ProductPanels& centres,
            const Kernel& kernel, std::uint32_t* out) {
  PackedRows packed(centres.depth(), kernel);
  std::vector<float> products(static_cast<std::size_t>(kProductRows * centres.padded()));
  for (std::int64_t first = 0; first < rows; first += kProductRows) {
    const std::int64_t present = std::min(kProductRows, rows - first);
    packed.pack(directions + first * centres.depth(), present);
    centres.multiply(packed.data(), packed.tiles(), products.data());
    for (std::int64_t r = 0; r < present; ++r) {
      out[first + r] = place_of_largest(products.data() + r * centres.padded(), centres.count(),
                                        centres.padded());
    }
  }
}

// Spherical k-means on some of the rows. [clusters, count]
std::vector<float> find_centres(const Directions& directions,
                                const std::vector<std::uint32_t>& rows, std::int64_t clusters,
                                const Kernel& kernel, Team& team) {
  const std::int64_t count = directions.count();
  const auto all = static_cast<std::int64_t>(rows.size());
  const std::int64_t size = std::min(all, clusters * kSamplePerCluster);
  std::vector<std::uint32_t> some;
  for (const std::uint32_t place : draw_rows(all, size, 0, kStream)) some.push_back(rows[place]);
  std::vector<float> points(static_cast<std::size_t>(size * count));
  team.for_blocks(size, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    directions.read(some.data() + begin, end - begin, points.data() + begin * count);
  });

  std::vector<float> centres(static_cast<std::size_t>(clusters * count));
  for (std::int64_t c = 0; c < clusters; ++c) {
    std::copy_n(points.begin() + c * size / clusters * count, count, centres.begin() + c * count);
  }
  std::vector<std::uint32_t> cluster(static_cast<std::size_t>(size));
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    const ProductPanels panels(centres.data(), clusters, count, kernel);
    team.for_blocks(size, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      assign(points.data() + begin * count, end - begin, panels, kernel, cluster.data() + begin);
    });
    std::vector<double> sums(centres.size());
    for (std::int64_t i = 0; i < size; ++i) {
      double* sum = sums.data() + cluster[static_cast<std::size_t>(i)] * count;
      for (std::int64_t d = 0; d < count; ++d)
        sum[d] += points[static_cast<std::size_t>(i * count + d)];
    }
    for (std::int64_t c = 0; c < clusters; ++c) {
      double length = 0.0;
      for (std::int64_t d = 0; d < count; ++d) {
        const double x = sums[static_cast<std::size_t>(c * count + d)];
        length += x * x;
      }
      if (length == 0.0) continue;  // nothing was closest to it: stays where it is
      for (std::int64_t d = 0; d < count; ++d) {
        const auto at = static_cast<std::size_t>(c * count + d);
        centres[at] = static_cast<float>(sums[at] / std::sqrt(length));
      }
    }
  }
  return centres;
}

// The `count` centres closest to each of some directions, the closest first. [rows, count]
std::vector<std::uint32_t> closest_of(const std::vector<float>& directions, std::int64_t rows,
                                      const ProductPanels& centres, std::int64_t count,
                                      const Kernel& kernel, Team& team, bool absolute = false) {
  const std::int64_t depth = centres.depth();
  std::vector<std::uint32_t> closest_ones(static_cast<std::size_t>(rows * count));
  team.for_blocks(rows, kProductRows, [&](std::int64_t begin, std::int64_t end, int) {
    PackedRows packed(depth, kernel);
    std::vector<float> products(static_cast<std::size_t>(kProductRows * centres.padded()));
    std::vector<std::uint32_t> order(static_cast<std::size_t>(centres.count()));
    packed.pack(directions.data() + begin * depth, end - begin);
    centres.multiply(packed.data(), packed.tiles(), products.data());
    for (std::int64_t r = 0; r < end - begin; ++r) {
      float* row = products.data() + r * centres.padded();
      if (absolute) {
        for (std::int64_t c = 0; c < centres.count(); ++c) row[c] = std::abs(row[c]);
      }
      const auto before = [row](std::uint32_t a, std::uint32_t b) {
        return row[a] != row[b] ? row[a] > row[b] : a < b;
      };
      std::iota(order.begin(), order.end(), 0U);
      std::nth_element(order.begin(), order.begin() + (count - 1), order.end(), before);
      std::sort(order.begin(), order.begin() + count, before);
      std::copy_n(order.begin(), count, closest_ones.begin() + (begin + r) * count);
    }
  });
  return closest_ones;
}

// For each centre the closest ones, itself first.
std::vector<std::vector<std::uint32_t>> nearest(const std::vector<float>& centres,
                                                std::int64_t clusters, const ProductPanels& panels,
                                                std::int64_t count, bool absolute,
                                                const Kernel& kernel, Team& team) {
  const auto all = closest_of(centres, clusters, panels, count, kernel, team, absolute);
  std::vector<std::vector<std::uint32_t>> near;
  for (std::int64_t c = 0; c < clusters; ++c) {
    std::vector<std::uint32_t> own(all.begin() + c * count, all.begin() + (c + 1) * count);
    const auto self = std::find(own.begin(), own.end(), static_cast<std::uint32_t>(c));
    // Whatever the rounding, and where centres coincide.
    if (self == own.end()) {
      own.back() = static_cast<std::uint32_t>(c);
      std::swap(own.front(), own.back());
    } else {
      std::rotate(own.begin(), self, self + 1);
    }
    near.push_back(std::move(own));
  }
  return near;
}

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

RowOrder order_rows(const Corpus& corpus, const FilterPlan& plan, Team& team,
                    std::int64_t rows_per_cluster) {
  RowOrder order;
  for (std::int64_t row = 0; row < corpus.size(); ++row) {
    if (!corpus.is_zero(row)) order.rows.push_back(static_cast<std::uint32_t>(row));
  }
  const auto rows = static_cast<std::int64_t>(order.rows.size());
  order.begins = {0, rows};
  const std::int64_t most = std::min(kMostClusters, rows / kRowsPerCluster);
  if (plan.leading.count == 0 || most < kLeastClusters) return order;
  const std::int64_t clusters = std::clamp(rows / rows_per_cluster, kLeastClusters, most);

  const Directions directions(corpus, plan);
  const std::int64_t count = directions.count();
  const Kernel& kernel = corpus.kernel();
  const std::vector<float> centres = find_centres(directions, order.rows, clusters, kernel, team);
  const ProductPanels panels(centres.data(), clusters, count, kernel);

  std::vector<std::uint32_t> cluster(order.rows.size());
  team.for_blocks(rows, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    std::vector<float> points(static_cast<std::size_t>((end - begin) * count));
    directions.read(order.rows.data() + begin, end - begin, points.data());
    assign(points.data(), end - begin, panels, kernel, cluster.data() + begin);
  });

  // Numbered along the chain; rows of a cluster keep their order.
  const std::vector<std::vector<std::uint32_t>> near =
      nearest(centres, clusters, panels, std::min(kNear, clusters), false, kernel, team);
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
  for (const std::uint32_t c : cluster) ++order.begins[number[c] + 1];
  std::partial_sum(order.begins.begin(), order.begins.end(), order.begins.begin());
  std::vector<std::int64_t> next(order.begins.begin(), order.begins.end() - 1);
  std::vector<std::uint32_t> sorted(order.rows.size());
  for (std::size_t i = 0; i < order.rows.size(); ++i) {
    sorted[static_cast<std::size_t>(next[number[cluster[i]]]++)] = order.rows[i];
  }
  order.rows = std::move(sorted);
  return order;
}

RowOrder walk_along(const HardPairs& pairs, const Corpus& corpus) {
  RowOrder order;
  std::vector<bool> passed(static_cast<std::size_t>(corpus.size()));
  const auto visit = [&](std::int64_t row) {
    const auto at = static_cast<std::size_t>(row);
    if (passed[at]) return false;
    passed[at] = true;
    if (corpus.is_zero(row)) return false;
    order.rows.push_back(static_cast<std::uint32_t>(row));
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
  order.begins = {0, static_cast<std::int64_t>(order.rows.size())};
  return order;
}

std::vector<std::vector<std::uint32_t>> near_clusters(const RowOrder& order, std::int64_t count,
                                                      bool absolute, const Kernel& kernel,
                                                      Team& team) {
  const auto clusters = static_cast<std::int64_t>(order.near.size());
  const std::int64_t depth = static_cast<std::int64_t>(order.centres.size()) / clusters;
  return nearest(order.centres, clusters,
                 ProductPanels(order.centres.data(), clusters, depth, kernel),
                 std::min(count, clusters), absolute, kernel, team);
}

std::vector<std::uint32_t> closest_clusters(const Corpus& corpus, const FilterPlan& plan,
                                            const RowOrder& order,
                                            const std::vector<std::uint32_t>& rows,
                                            std::int64_t count, Team& team) {
  const Directions directions(corpus, plan);
  const auto size = static_cast<std::int64_t>(rows.size());
  std::vector<float> points(static_cast<std::size_t>(size * directions.count()));
  team.for_blocks(size, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    directions.read(rows.data() + begin, end - begin, points.data() + begin * directions.count());
  });
  const auto clusters = static_cast<std::int64_t>(order.near.size());
  return closest_of(
      points, size,
      ProductPanels(order.centres.data(), clusters, directions.count(), corpus.kernel()), count,
      corpus.kernel(), team);
}

}  // namespace helip::mining
