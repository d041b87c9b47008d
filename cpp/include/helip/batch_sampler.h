// Batches of targets and their hard pairs, the same for the same (seed, epoch, rank, world size).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "helip/export.h"
#include "helip/growing_pairs.h"
#include "helip/hard_pairs.h"

namespace helip {

// What becomes of a target that has fewer hard pairs in its rank window than hard_per_target.
enum class ShortPolicy {
  skip,    // it is not a target; it may still be somebody's hard pair
  random,  // random rows fill in
  error,   // construction throws
};

HELIP_EXPORT const char* name_of(ShortPolicy policy) noexcept;
HELIP_EXPORT ShortPolicy short_policy_from_name(const std::string& name);

struct BatchOptions {
  std::int64_t batch_size = 256;     // rows of a batch and rank, targets and hard pairs together
  std::int64_t hard_per_target = 1;  // p >= 0; a batch has batch_size / (1 + p) targets
  std::uint64_t seed = 0;
  std::int64_t rank = 0;
  std::int64_t world_size = 1;
  std::int64_t rank_min = 0;  // first rank of the window that hard pairs are drawn from
  std::int64_t rank_max = 0;  // one past its last rank; 0 means the pool size k
  double temperature = 0.0;   // 0: uniform; else drawn in proportion to exp(score / temperature)
  double fraction = 1.0;      // share of targets that get hard pairs at all, 0 .. 1
  ShortPolicy short_policy = ShortPolicy::skip;
};

struct Batch {
  std::vector<std::int64_t> index;   // [rows] data-set rows, all different
  std::vector<std::int64_t> target;  // [rows] batch row of the target that each row serves
};

// Counted over the batches made since construction or the last reset.
struct BatchStatistics {
  std::int64_t batches = 0;
  std::int64_t targets = 0;
  std::int64_t plain_targets = 0;  // those with no hard pair in the window when they were drawn
  std::int64_t hard_pairs = 0;
  std::int64_t replaced = 0;  // hard pairs that were in the batch already; the next one was taken
  std::int64_t random_fills = 0;  // rows put in by ShortPolicy::random
  std::int64_t unfilled = 0;  // places left empty: every hard pair of the window was in the batch
};

// Targets of an epoch: every eligible row once, over all ranks together, in a random order. They
// are spread evenly, so batches differ by at most one target and no row is dropped at the end.
// Not thread-safe.
class HELIP_EXPORT BatchSampler {
 public:
  // Throws invalid_argument (bounds; short targets under ShortPolicy::error, with their number;
  // fewer eligible targets than ranks).
  BatchSampler(HardPairs pairs, BatchOptions options);
  // Draws from what the table knows when batch() is called. Which rows will be short is not known
  // yet, so every row is a target: under ShortPolicy::skip places without a hard pair stay empty,
  // and ShortPolicy::error is refused.
  BatchSampler(std::shared_ptr<const GrowingPairs> pairs, BatchOptions options);
  ~BatchSampler();
  BatchSampler(BatchSampler&&) noexcept;
  BatchSampler& operator=(BatchSampler&&) noexcept;

  void set_epoch(std::int64_t epoch);
  std::int64_t epoch() const noexcept;
  std::int64_t batches_per_epoch() const noexcept;  // the same on every rank
  Batch batch(std::int64_t step);                   // of the current epoch; random access

  std::int64_t eligible_targets() const noexcept;
  std::int64_t skipped_targets() const noexcept;  // by ShortPolicy::skip
  const BatchStatistics& statistics() const noexcept;
  void reset_statistics() noexcept;
  const BatchOptions& options() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
