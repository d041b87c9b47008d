// Bands: pools that are found at a time, and those that are handed to a sink at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "base/team.h"
#include "helip/hard_pairs.h"
#include "helip/mine_options.h"
#include "mine/pool/pools.h"

namespace helip::mining {

// What a target takes while its pool of `kept` pairs is found: the pool, and its numbers.
std::int64_t bytes_of_target(std::int64_t kept) noexcept;

// How many targets' pools fit into `memory`. One that is too small for anything gets the least
// that works.
struct BandSize {
  std::int64_t targets;
  std::int64_t bands;
};
BandSize band_size(std::int64_t targets, const MineOptions& options, std::int64_t rows,
                   std::int64_t memory) noexcept;

// A band of empty pools.
HardPairBand make_band(std::int64_t first, std::int64_t rows, std::int64_t k);
// Rows of a band that is handed to a sink: few enough to be small beside the buffers.
std::int64_t band_rows_for(std::int64_t k) noexcept;
// Finishes pools of k pairs and writes them: row first + i of the table is target slots[i] of
// `pools`, or has no pairs where that is -1.
void write_pools(Pools& pools, const std::vector<std::int64_t>& slots, std::int64_t first,
                 std::int64_t k, HardPairSink& sink, DropCounts& drops, Team& team);

}  // namespace helip::mining
