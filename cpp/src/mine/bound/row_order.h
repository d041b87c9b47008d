// The order in which rows are worked on: rows that lie close together follow each other, so that
// thresholds rise early and what is read together lies together. It changes the time alone.
#pragma once

#include <cstdint>
#include <vector>

#include "base/team.h"
#include "helip/hard_pairs.h"
#include "io/tensor_columns.h"
#include "mine/bound/filter_plan.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

struct RowOrder {
  std::vector<std::uint32_t> rows;  // place -> row; zero rows, which have no pairs, are left out
  // Clusters of close rows: places [begins[c], begins[c + 1]). One cluster where none were sought.
  std::vector<std::int64_t> begins;
  // [clusters]: for each cluster those that lie closest, itself first. Empty with one cluster.
  std::vector<std::vector<std::uint32_t>> near;
  std::vector<float> centres;  // [clusters, plan.leading.count]
};

inline constexpr std::int64_t kRowsPerCluster = 64;
// Clusters of about kRowsPerCluster rows, larger beyond 2^24 rows.
RowOrder order_rows(const Corpus& corpus, const FilterPlan& plan, Team& team);

// An order without clusters.
RowOrder unclustered(std::vector<std::uint32_t> rows);

// The order of a walk along a table of close rows, from each to the first of its pool that was not
// visited yet; rows that came after the table follow. Without clusters.
RowOrder walk_along(const HardPairs& pairs, const Corpus& corpus);

// For each cluster the `count` that lie closest to it, itself first; by the absolute value of the
// product where `absolute`. The order must have centres.
std::vector<std::vector<std::uint32_t>> near_clusters(const RowOrder& order, std::int64_t count,
                                                      bool absolute, const Kernel& kernel,
                                                      Team& team);

// For each of some rows the `count` clusters whose centres lie closest to it. [rows, count]
std::vector<std::uint32_t> closest_clusters(const Corpus& corpus, const FilterPlan& plan,
                                            const RowOrder& order,
                                            const std::vector<std::uint32_t>& rows,
                                            std::int64_t count, Team& team);

// The order stays where it is.
void show_order(const RowOrder& order, TensorColumns& columns);
// Of a corpus of so many rows, its centres of so many directions. Throws Error(corrupt) where it
// cannot be one of these.
RowOrder read_order(const TensorFile& file, std::int64_t rows, std::int64_t directions);

}  // namespace helip::mining
