// Clusters of rows that lie close together, by spherical k-means (Dhillon and Modha, 2001) along
// the leading directions of a filter plan.
#pragma once

#include <cstdint>
#include <vector>

#include "base/team.h"
#include "mine/bound/filter_plan.h"
#include "mine/corpus/corpus.h"
#include "mine/kernel/product_panels.h"

namespace helip::mining {

// Coordinates of rows along the leading directions, of unit length.
class Directions {
 public:
  Directions(const Corpus& corpus, const FilterPlan& plan);

  std::int64_t count() const { return panels_.count(); }
  const Kernel& kernel() const { return corpus_.kernel(); }
  // out [size, count()]
  void read(const std::uint32_t* rows, std::int64_t size, float* out) const;
  // The same, by all threads.
  std::vector<float> read(const std::vector<std::uint32_t>& rows, Team& team) const;

 private:
  const Corpus& corpus_;
  const FilterPlan& plan_;
  const ProductPanels panels_;
};

struct Clusters {
  std::int64_t count = 0;
  std::vector<float> centres;          // [count, directions]
  std::vector<std::uint32_t> of_rows;  // the cluster of each row; one may have none
};

// Deterministic. Of rows [first, rows.size()), and each row is put to one of them. Where there are
// many, they are found group by group: a row is held against some 7·√count centres instead of all,
// and those near the one it has.
Clusters find_clusters(const Directions& directions, const std::vector<std::uint32_t>& rows,
                       std::int64_t first, std::int64_t count, Team& team);

}  // namespace helip::mining
