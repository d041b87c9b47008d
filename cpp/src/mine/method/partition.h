// How many clusters meet, for the miner and for what it is planned to cost.
#pragma once

#include <algorithm>
#include <cstdint>

#include "mine/bound/row_order.h"
#include "mine/method/recall.h"

namespace helip::mining {

inline constexpr std::int64_t kPartitionNear = 16;  // clusters that each one meets at first
inline constexpr std::int64_t kNeighbours = 32;     // of a row, whose neighbours it meets
inline constexpr double kMostToMeet = 0.25;         // share of all pairs; beyond, exact is quicker

// Of all pairs those that meet in the first round, about: of two clusters each may choose the
// other, or only one of them does. Larger pools make more clusters meet.
inline double partition_share(std::int64_t rows, std::int64_t kept) noexcept {
  const double met =
      1.5 * static_cast<double>(std::max(kPartitionNear * kRowsPerCluster, 8 * kept));
  return std::min(1.0, met / static_cast<double>(std::max<std::int64_t>(rows, 1)));
}

// Whether clusters may find enough, and a sample show it, before exact mining would be quicker.
inline bool partition_pays(std::int64_t rows, std::int64_t kept, double recall) {
  return partition_share(rows, kept) <= 1.0 / 16.0 && recall <= most_recall_shown(rows);
}

}  // namespace helip::mining
