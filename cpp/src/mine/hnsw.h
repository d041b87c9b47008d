// Sizes of the graph index, for the miner and for what it is planned to cost.
#pragma once

#include <cstdint>

namespace helip::mining {

inline constexpr std::int64_t kHnswGraphRows = 65536;  // most rows of one graph
inline constexpr std::int64_t kHnswDegree = 24;        // links of a row in upper layers, 2x below
inline constexpr std::int64_t kHnswBuildBreadth = 150;
inline constexpr std::int64_t kHnswWidest = 2048;  // where widening ends, for usual k

std::int64_t hnsw_graphs(std::int64_t rows) noexcept;
// Of all graphs, with their float32 rows.
constexpr std::int64_t hnsw_bytes(std::int64_t rows, std::int64_t dimensions) noexcept {
  return rows * (4 * dimensions + 8 * kHnswDegree + 150);
}
// Rows are dealt out in turn, so each graph holds about an equal share of a pool.
std::int64_t hnsw_first_breadth(std::int64_t k, std::int64_t graphs) noexcept;
// Beyond this a search costs more than scoring every row does.
std::int64_t hnsw_last_breadth(std::int64_t k, std::int64_t graphs) noexcept;

}  // namespace helip::mining
