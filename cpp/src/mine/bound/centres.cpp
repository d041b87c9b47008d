#include "mine/bound/centres.h"

#include <cmath>
#include <numeric>
#include <utility>

namespace helip::mining {
namespace {

constexpr std::int64_t kLookedAt = 32;  // centres that one looks at, for each that it wants
constexpr std::int64_t kSeekers = 256;  // centres that look together

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

// Centres in groups that lie close together.
class CentreGroups {
 public:
  CentreGroups(const std::vector<float>& centres, std::int64_t dimensions, const Kernel& kernel,
               Team& team)
      : centres_(centres),
        dimensions_(dimensions),
        kernel_(kernel),
        count_(static_cast<std::int64_t>(centres.size()) / dimensions),
        groups_(std::llround(std::sqrt(static_cast<double>(count_)))),
        group_panels_(fit_centres(centres, dimensions, groups_, kernel, team).data(), groups_,
                      dimensions, kernel) {
    std::vector<std::uint32_t> own(static_cast<std::size_t>(count_));
    team.for_blocks(count_, kCentreGrain, [&](std::int64_t begin, std::int64_t end, int) {
      assign_closest(centres.data() + begin * dimensions, end - begin, group_panels_, kernel,
                     own.data() + begin);
    });
    members_ = visits_of(own, 1, groups_);
    std::vector<float> values;
    for (std::int64_t g = 0; g < groups_; ++g) {
      values.clear();
      for (const std::uint32_t centre : members_.of(g)) {
        const float* value = centres.data() + centre * dimensions;
        values.insert(values.end(), value, value + dimensions);
      }
      panels_.emplace_back(values.data(), static_cast<std::int64_t>(members_.of(g).size()),
                           dimensions, kernel);
    }
  }

  // As closest_centres() of the centres themselves, among those of some groups. [centres, count]
  std::vector<std::uint32_t> closest(std::int64_t count, bool absolute, Team& team) const {
    const std::int64_t few = std::min(groups_, (kLookedAt * count * groups_ + count_ - 1) / count_);
    std::vector<std::uint32_t> found(static_cast<std::size_t>(count_ * count));
    team.for_blocks(count_, kSeekers, [&](std::int64_t begin, std::int64_t end, int) {
      look(begin, end - begin, count, few, absolute, found.data() + begin * count);
    });
    return found;
  }

 private:
  using Reached = std::pair<float, std::uint32_t>;  // a product and the centre

  // Of centres [first, first + size) the closest in `few` groups. out [size, count]
  void look(std::int64_t first, std::int64_t size, std::int64_t count, std::int64_t few,
            bool absolute, std::uint32_t* out) const {
    const float* points = centres_.data() + first * dimensions_;
    std::vector<std::uint32_t> groups(static_cast<std::size_t>(size * few));
    assign_few_closest(points, size, group_panels_, few, absolute, kernel_, groups.data());
    const GroupVisits visits = visits_of(groups, few, groups_);
    std::vector<std::vector<Reached>> reached(static_cast<std::size_t>(size));
    multiply_visits(points, visits, panels_, kernel_,
                    [&](std::uint32_t point, std::size_t group, const float* products) {
                      const auto members = members_.of(static_cast<std::int64_t>(group));
                      for (std::size_t c = 0; c < members.size(); ++c) {
                        reached[point].emplace_back(absolute ? std::abs(products[c]) : products[c],
                                                    members[c]);
                      }
                    });
    const auto before = [](const Reached& a, const Reached& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;
    };
    for (std::int64_t i = 0; i < size; ++i) {
      auto& own = reached[static_cast<std::size_t>(i)];
      if (static_cast<std::int64_t>(own.size()) < count) {  // of small groups
        look(first + i, 1, count, groups_, absolute, out + i * count);
        continue;
      }
      std::nth_element(own.begin(), own.begin() + (count - 1), own.end(), before);
      std::sort(own.begin(), own.begin() + count, before);
      for (std::int64_t n = 0; n < count; ++n) {
        out[i * count + n] = own[static_cast<std::size_t>(n)].second;
      }
    }
  }

  const std::vector<float>& centres_;
  const std::int64_t dimensions_;
  const Kernel& kernel_;
  const std::int64_t count_;
  const std::int64_t groups_;
  const ProductPanels group_panels_;
  GroupVisits members_;  // centres of each group
  std::vector<ProductPanels> panels_;
};

}  // namespace

GroupVisits visits_of(const std::vector<std::uint32_t>& groups, std::int64_t few,
                      std::int64_t count) {
  GroupVisits visits;
  visits.begins.resize(static_cast<std::size_t>(count) + 1);
  for (const std::uint32_t group : groups) ++visits.begins[group + 1];
  std::partial_sum(visits.begins.begin(), visits.begins.end(), visits.begins.begin());
  std::vector<std::uint32_t> next(visits.begins.begin(), visits.begins.end() - 1);
  visits.points.resize(groups.size());
  for (std::size_t i = 0; i < groups.size(); ++i) {
    visits.points[next[groups[i]]++] =
        static_cast<std::uint32_t>(static_cast<std::int64_t>(i) / few);
  }
  return visits;
}

void assign_closest(const float* directions, std::int64_t rows, const ProductPanels& centres,
                    const Kernel& kernel, std::uint32_t* out) {
  multiply_rows(directions, rows, centres, kernel, [&](std::int64_t row, const float* products) {
    out[row] = place_of_largest(products, centres.count(), centres.padded());
  });
}

void assign_few_closest(const float* directions, std::int64_t rows, const ProductPanels& centres,
                        std::int64_t count, bool absolute, const Kernel& kernel,
                        std::uint32_t* out) {
  std::vector<std::uint32_t> order(static_cast<std::size_t>(centres.count()));
  std::iota(order.begin(), order.end(), 0U);
  multiply_rows(directions, rows, centres, kernel, [&](std::int64_t row, float* products) {
    if (absolute) {
      for (std::int64_t c = 0; c < centres.count(); ++c) products[c] = std::abs(products[c]);
    }
    const auto before = [products](std::uint32_t a, std::uint32_t b) {
      return products[a] != products[b] ? products[a] > products[b] : a < b;
    };
    std::partial_sort(order.begin(), order.begin() + count, order.end(), before);
    std::copy_n(order.begin(), count, out + row * count);
  });
}

std::vector<std::uint32_t> closest_centres(const std::vector<float>& directions, std::int64_t rows,
                                           const ProductPanels& centres, std::int64_t count,
                                           const Kernel& kernel, Team& team, bool absolute) {
  std::vector<std::uint32_t> closest(static_cast<std::size_t>(rows * count));
  team.for_blocks(rows, kProductRows, [&](std::int64_t begin, std::int64_t end, int) {
    assign_few_closest(directions.data() + begin * centres.depth(), end - begin, centres, count,
                       absolute, kernel, closest.data() + begin * count);
  });
  return closest;
}

void move_to_means(const std::vector<float>& points, const std::vector<std::uint32_t>& clusters,
                   std::vector<float>& centres) {
  const auto dimensions = static_cast<std::int64_t>(points.size() / clusters.size());
  std::vector<double> sums(centres.size());
  for (std::size_t i = 0; i < clusters.size(); ++i) {
    const float* point = points.data() + static_cast<std::int64_t>(i) * dimensions;
    double* sum = sums.data() + clusters[i] * dimensions;
    for (std::int64_t d = 0; d < dimensions; ++d) sum[d] += point[d];
  }
  for (std::size_t first = 0; first < centres.size();
       first += static_cast<std::size_t>(dimensions)) {
    double length = 0.0;
    for (std::int64_t d = 0; d < dimensions; ++d) length += sums[first + d] * sums[first + d];
    if (length == 0.0) continue;
    for (std::int64_t d = 0; d < dimensions; ++d) {
      centres[first + d] = static_cast<float>(sums[first + d] / std::sqrt(length));
    }
  }
}

std::vector<float> fit_centres(const std::vector<float>& points, std::int64_t dimensions,
                               std::int64_t count, const Kernel& kernel, Team& team) {
  const std::int64_t size = static_cast<std::int64_t>(points.size()) / dimensions;
  std::vector<float> centres(static_cast<std::size_t>(count * dimensions));
  for (std::int64_t c = 0; c < count; ++c) {
    std::copy_n(points.begin() + c * size / count * dimensions, dimensions,
                centres.begin() + c * dimensions);
  }
  std::vector<std::uint32_t> clusters(static_cast<std::size_t>(size));
  for (int iteration = 0; iteration < kLloydSteps; ++iteration) {
    const ProductPanels panels(centres.data(), count, dimensions, kernel);
    team.for_blocks(size, kCentreGrain, [&](std::int64_t begin, std::int64_t end, int) {
      assign_closest(points.data() + begin * dimensions, end - begin, panels, kernel,
                     clusters.data() + begin);
    });
    move_to_means(points, clusters, centres);
  }
  return centres;
}

std::vector<std::vector<std::uint32_t>> nearest_centres(const std::vector<float>& centres,
                                                        std::int64_t clusters, std::int64_t count,
                                                        bool absolute, const Kernel& kernel,
                                                        Team& team) {
  const std::int64_t dimensions = static_cast<std::int64_t>(centres.size()) / clusters;
  count = std::min(count, clusters);
  std::vector<std::uint32_t> all;
  if (clusters > kMostCentresAtOnce && kLookedAt * count < clusters / 2) {
    all = CentreGroups(centres, dimensions, kernel, team).closest(count, absolute, team);
  } else {
    const ProductPanels panels(centres.data(), clusters, dimensions, kernel);
    all = closest_centres(centres, clusters, panels, count, kernel, team, absolute);
  }
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

}  // namespace helip::mining
