// Sizes of the graph, for the miner and for what it is planned to cost.
#pragma once

#include <cstdint>

#include "mine/graph/graph.h"

namespace helip::mining {

inline constexpr GraphOptions kHnswGraph{32, 80};
inline constexpr std::int64_t kHnswWidest = 2048;  // where widening ends, for usual k

std::int64_t hnsw_first_breadth(std::int64_t kept) noexcept;
// Beyond this a search costs more than scoring every row does.
std::int64_t hnsw_last_breadth(std::int64_t kept) noexcept;
// What the graph of all rows takes.
std::int64_t hnsw_bytes(const Corpus& corpus) noexcept;

}  // namespace helip::mining
