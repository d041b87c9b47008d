// An order of rows in which those that are each other's hard pairs lie close together.
#pragma once

#include <cstdint>
#include <vector>

#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/progress.h"

namespace helip {

struct LocalityOptions {
  std::int64_t block = 64;    // rows of the smallest block that is packed, at least 2
  std::int64_t rank_max = 0;  // ranks of a pool that count, for a loader that draws from these
                              // alone; 0 means all
  std::uint64_t seed = 0;     // of the row that the first walk starts from
};

// order[place] = row, a permutation of 0 .. N-1. Blocks of `block`, 2 block, 4 block, ... rows that
// start at a multiple of their size hold many pairs of a target and its hard pair. A function of
// the table and the options alone.
//
// Memory is 4 bytes a hard pair and 40 a row beside the table, time is in proportion to the number
// of hard pairs and the logarithm of N / block. Throws Error: invalid_argument (bounds),
// unsupported (2^31 rows and more), cancelled.
[[nodiscard]] HELIP_EXPORT std::vector<std::int64_t> locality_order(
    const HardPairs& pairs, const LocalityOptions& options = {},
    const ProgressCallback& progress = {});

}  // namespace helip
