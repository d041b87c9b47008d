// Scores every target of a list against every candidate of another, tile by tile; the scores of a
// tile never leave the first-level cache.
#pragma once

#include <cstdint>
#include <vector>

#include "filter.h"
#include "pools.h"
#include "team.h"

namespace helip::mining {

struct ScanJob {
  RowList targets;
  RowList columns;                 // the candidates, all different
  std::vector<std::int64_t> self;  // [targets] place of the target among the columns, -1: absent
  // Place among the columns of the first target when the targets are a run of the columns: each
  // unordered pair among them is then scored once and serves both. -1: every target on its own.
  std::int64_t mirror = -1;
  std::int64_t block_rows = 0;  // targets packed at a time; 0 takes the default

  // Units that scan() adds to the team's work: pairs whose similarity is computed, roughly.
  std::int64_t work() const noexcept;
};

// Bytes of packed rows and columns.
std::int64_t scan_bytes(const Filter& filter, std::int64_t block_rows, int threads) noexcept;
inline constexpr std::int64_t kDefaultBlockRows = 1536;

// Error bound of a product of two similarities in float32.
double score_error(const Filter& filter) noexcept;

// Offers to `pools`, which must be those of job.targets, what may be in them. Returns the ordered
// pairs scored and dropped, decided by the filter's float32 values; the same for any number of
// threads and any split into jobs.
DropCounts scan(const Corpus& corpus, const Filter& filter, const ScanJob& job, Pools& pools,
                Team& team);

}  // namespace helip::mining
