// Sizes of the clusters, for the miner and for what it is planned to cost.
#pragma once

#include <cstdint>

namespace helip::mining {

inline constexpr std::int64_t kPartitionRows = 256;  // of a cluster, about
inline constexpr std::int64_t kPartitionNear = 8;    // clusters that each one meets at first

}  // namespace helip::mining
