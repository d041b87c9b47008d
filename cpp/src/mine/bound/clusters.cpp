#include "mine/bound/clusters.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "mine/bound/centres.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kSamplePerCluster = 8;
constexpr std::int64_t kGroupsSeen = 4;  // that a point looks at all centres of
constexpr std::int64_t kNearSteps = 32;  // centres that a point looks at from the one it has
constexpr std::int64_t kBatch = 1024;    // points that are held against groups together
constexpr std::uint64_t kClusterStream = 0x6f72'6465'72ULL;

// The two largest of some values, and where the first is.
struct Largest {
  float first = -2.0F;
  float second = -2.0F;
  std::uint32_t place = 0;

  // Whether `value` is the largest now; its place is then the caller's to set.
  bool add(float value) {
    if (value <= first) {
      second = std::max(second, value);
      return false;
    }
    second = first;
    first = value;
    return true;
  }
};

// Adds some values, the first of which has the place `begin`. As for assign_closest(): zeros that
// pad them count, so `first` is of a value only if it is above 0.
void add_values(const float* values, std::int64_t count, std::int64_t padded, std::uint32_t begin,
                Largest& largest) {
  float first[kTileColumns], second[kTileColumns];
  std::copy_n(values, kTileColumns, first);
  std::fill_n(second, kTileColumns, -2.0F);
  for (std::int64_t c = kTileColumns; c < padded; c += kTileColumns) {
    for (int lane = 0; lane < kTileColumns; ++lane) {
      const float value = values[c + lane];
      second[lane] = std::max(second[lane], std::min(first[lane], value));
      first[lane] = std::max(first[lane], value);
    }
  }
  bool is_here = false;
  for (int lane = 0; lane < kTileColumns; ++lane) {
    is_here = largest.add(first[lane]) || is_here;
    largest.second = std::max(largest.second, second[lane]);
  }
  if (!is_here) return;
  const std::int64_t place = std::find(values, values + count, largest.first) - values;
  largest.place = begin + static_cast<std::uint32_t>(std::min(place, count - 1));
}

// Of each row what find(points, rows, out) says, `grain` rows at a time. [rows]
template <typename Find>
std::vector<std::uint32_t> find_for_rows(const Directions& directions,
                                         const std::vector<std::uint32_t>& rows, std::int64_t grain,
                                         Team& team, const Find& find) {
  std::vector<std::uint32_t> found(rows.size());
  team.for_blocks(
      static_cast<std::int64_t>(rows.size()), grain,
      [&](std::int64_t begin, std::int64_t end, int) {
        std::vector<float> points(static_cast<std::size_t>((end - begin) * directions.count()));
        directions.read(rows.data() + begin, end - begin, points.data());
        find(points.data(), end - begin, found.data() + begin);
      });
  return found;
}

// Every row is held against all centres.
Clusters at_once(const Directions& directions, const std::vector<std::uint32_t>& rows,
                 const std::vector<float>& sample, std::int64_t count, Team& team) {
  const Kernel& kernel = directions.kernel();
  std::vector<float> centres = fit_centres(sample, directions.count(), count, kernel, team);
  const ProductPanels panels(centres.data(), count, directions.count(), kernel);
  auto of_rows = find_for_rows(directions, rows, kCentreGrain, team,
                               [&](const float* points, std::int64_t size, std::uint32_t* out) {
                                 assign_closest(points, size, panels, kernel, out);
                               });
  return {count, std::move(centres), std::move(of_rows)};
}

// Many centres, in groups that are numbered one after the other. A point looks for the closest in
// the closest groups, and from there on among the centres near the one it has.
class GroupedCentres {
 public:
  GroupedCentres(const std::vector<float>& sample, std::int64_t dimensions, std::int64_t count,
                 const Kernel& kernel, Team& team)
      : dimensions_(dimensions), kernel_(kernel) {
    // As many products with centres of groups as with those of the groups that are looked at.
    const auto groups = std::llround(std::sqrt(static_cast<double>(kGroupsSeen * count)));
    const std::vector<float> group_centres = fit_centres(sample, dimensions, groups, kernel, team);
    group_panels_.emplace(group_centres.data(), groups, dimensions, kernel);
    const std::int64_t size = static_cast<std::int64_t>(sample.size()) / dimensions;
    std::vector<std::uint32_t> group(static_cast<std::size_t>(size));
    team.for_blocks(size, kCentreGrain, [&](std::int64_t begin, std::int64_t end, int) {
      assign_closest(sample.data() + begin * dimensions, end - begin, *group_panels_, kernel,
                     group.data() + begin);
    });
    std::vector<std::vector<float>> members(static_cast<std::size_t>(groups));
    for (std::int64_t i = 0; i < size; ++i) {
      std::vector<float>& own = members[group[static_cast<std::size_t>(i)]];
      own.insert(own.end(), sample.begin() + i * dimensions, sample.begin() + (i + 1) * dimensions);
    }
    for (const std::vector<float>& own : members) {
      const auto points = static_cast<double>(own.size()) / static_cast<double>(dimensions);
      const auto wanted =
          std::llround(points * static_cast<double>(count) / static_cast<double>(size));
      if (!own.empty()) {
        const std::vector<float> centres =
            fit_centres(own, dimensions, std::max<std::int64_t>(1, wanted), kernel, team);
        centres_.insert(centres_.end(), centres.begin(), centres.end());
      }
      begins_.push_back(static_cast<std::uint32_t>(count_of(centres_)));
    }
    near_ = nearest_centres(centres_, count_of(centres_), kNearSteps, false, kernel, team);
    pack();
  }

  const std::vector<float>& centres() const { return centres_; }
  std::int64_t count() const { return count_of(centres_); }

  // Centres move, and are numbered as before.
  void settle(const std::vector<float>& sample, Team& team) {
    std::vector<std::uint32_t> clusters(sample.size() / static_cast<std::size_t>(dimensions_));
    for (int iteration = 0; iteration < kLloydSteps; ++iteration) {
      team.for_blocks(static_cast<std::int64_t>(clusters.size()), kBatch,
                      [&](std::int64_t begin, std::int64_t end, int) {
                        find(sample.data() + begin * dimensions_, end - begin,
                             clusters.data() + begin);
                      });
      move_to_means(sample, clusters, centres_);
      pack();
    }
  }

  // out [rows]
  void find(const float* points, std::int64_t rows, std::uint32_t* out) const {
    const std::int64_t few = std::min(kGroupsSeen, group_panels_->count());
    std::vector<std::uint32_t> groups(static_cast<std::size_t>(rows * few));
    assign_few_closest(points, rows, *group_panels_, few, false, kernel_, groups.data());
    const std::vector<Largest> found = look_in_groups(points, rows, groups, few);
    // Products of tiles round otherwise than single ones, which decide where both could.
    const auto doubt = static_cast<float>(4.04 * product_error(dimensions_));
    for (std::int64_t i = 0; i < rows; ++i) {
      const Largest& largest = found[static_cast<std::size_t>(i)];
      const bool clear = largest.first > doubt && largest.first - largest.second > doubt;
      const float* point = points + i * dimensions_;
      out[i] = walk(point, clear ? largest.place : closest(point, groups.data() + i * few, few));
    }
  }

 private:
  std::int64_t count_of(const std::vector<float>& centres) const {
    return static_cast<std::int64_t>(centres.size()) / dimensions_;
  }
  float product(const float* point, std::uint32_t centre) const {
    return kernel_.dot_short(point, centres_.data() + centre * dimensions_, dimensions_);
  }
  // After centres have moved.
  void pack() {
    panels_.clear();
    for (std::size_t g = 0; g + 1 < begins_.size(); ++g) {
      panels_.emplace_back(centres_.data() + begins_[g] * dimensions_, begins_[g + 1] - begins_[g],
                           dimensions_, kernel_);
    }
  }
  // Of each point the closest centres of its groups [rows, few]; those of a group are looked at by
  // all its points together.
  std::vector<Largest> look_in_groups(const float* points, std::int64_t rows,
                                      const std::vector<std::uint32_t>& groups,
                                      std::int64_t few) const {
    const GroupVisits visits = visits_of(groups, few, static_cast<std::int64_t>(panels_.size()));
    std::vector<Largest> found(static_cast<std::size_t>(rows));
    multiply_visits(points, visits, panels_, kernel_,
                    [&](std::uint32_t point, std::size_t group, const float* products) {
                      const ProductPanels& panels = panels_[group];
                      add_values(products, panels.count(), panels.padded(), begins_[group],
                                 found[point]);
                    });
    return found;
  }
  // Of all centres of some groups; the first of those that are as close.
  std::uint32_t closest(const float* point, const std::uint32_t* groups, std::int64_t few) const {
    std::uint32_t best = 0;
    float most = -2.0F;
    for (std::int64_t g = 0; g < few; ++g) {
      for (std::uint32_t c = begins_[groups[g]]; c < begins_[groups[g] + 1]; ++c) {
        const float reached = product(point, c);
        if (reached <= most) continue;
        most = reached;
        best = c;
      }
    }
    return best;
  }
  // On to closer ones while there are any near.
  std::uint32_t walk(const float* point, std::uint32_t best) const {
    float most = product(point, best);
    for (std::uint32_t from = ~best; from != best;) {
      from = best;
      for (const std::uint32_t centre : near_[from]) {
        const float reached = product(point, centre);
        if (reached <= most) continue;
        most = reached;
        best = centre;
      }
    }
    return best;
  }

  const std::int64_t dimensions_;
  const Kernel& kernel_;
  std::optional<ProductPanels> group_panels_;  // the centres of the groups
  std::vector<float> centres_;
  std::vector<ProductPanels> panels_;     // of each group
  std::vector<std::uint32_t> begins_{0};  // [groups + 1]: where the centres of each begin
  std::vector<std::vector<std::uint32_t>> near_;
};

Clusters in_groups(const Directions& directions, const std::vector<std::uint32_t>& rows,
                   const std::vector<float>& sample, std::int64_t count, Team& team) {
  GroupedCentres centres(sample, directions.count(), count, directions.kernel(), team);
  centres.settle(sample, team);
  auto of_rows = find_for_rows(directions, rows, kBatch, team,
                               [&](const float* points, std::int64_t size, std::uint32_t* out) {
                                 centres.find(points, size, out);
                               });
  return {centres.count(), centres.centres(), std::move(of_rows)};
}

}  // namespace

Directions::Directions(const Corpus& corpus, const FilterPlan& plan)
    : corpus_(corpus),
      plan_(plan),
      panels_(plan.leading.vectors.data(), plan.leading.count, plan.leading.dimensions,
              corpus.kernel()) {}

void Directions::read(const std::uint32_t* rows, std::int64_t size, float* out) const {
  const std::int64_t depth = panels_.depth();
  WeightedRow reader(corpus_, plan_.factors);
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
      for (std::int64_t d = 0; d < count(); ++d) out[(first + r) * count() + d] = from[d] * factor;
    }
  }
}

std::vector<float> Directions::read(const std::vector<std::uint32_t>& rows, Team& team) const {
  const auto size = static_cast<std::int64_t>(rows.size());
  std::vector<float> points(static_cast<std::size_t>(size * count()));
  team.for_blocks(size, kCentreGrain, [&](std::int64_t begin, std::int64_t end, int) {
    read(rows.data() + begin, end - begin, points.data() + begin * count());
  });
  return points;
}

Clusters find_clusters(const Directions& directions, const std::vector<std::uint32_t>& rows,
                       std::int64_t first, std::int64_t count, Team& team) {
  const auto all = static_cast<std::int64_t>(rows.size()) - first;
  std::vector<std::uint32_t> some;
  for (const std::uint32_t place :
       draw_rows(all, std::min(all, count * kSamplePerCluster), 0, kClusterStream)) {
    some.push_back(rows[static_cast<std::size_t>(first + place)]);
  }
  const std::vector<float> sample = directions.read(some, team);
  return count <= kMostCentresAtOnce ? at_once(directions, rows, sample, count, team)
                                     : in_groups(directions, rows, sample, count, team);
}

}  // namespace helip::mining
