// Batches of targets and their hard pairs, the same for the same (seed, epoch, rank, world size).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "helip/export.h"
#include "helip/growing_pairs.h"
#include "helip/hard_pairs.h"
#include "helip/row_groups.h"

namespace helip {

// What becomes of a target that has fewer hard pairs in its rank window than hard_per_target.
enum class ShortPolicy {
  skip,    // it is not a target; it may still be somebody's hard pair
  random,  // random rows fill in
  error,   // construction throws
  keep,    // it comes with the hard pairs that it has, and places stay empty
};

// Which rows make a batch; docs/loader.md says when to use which.
enum class BatchStrategy {
  automatic,    // scheduled with a schedule, temperature with a temperature, else uniform
  uniform,      // each target draws from its rank window, all ranks alike
  temperature,  // each target draws in proportion to exp(score / draw_temperature)
  scheduled,    // window or temperature change with the progress of training
  shared,       // a row of the batch counts for every target that it is a hard pair of
  walk,         // targets lie along random walks over the table: they are each other's hard pairs
  communities,  // targets come in communities: a random row, and rows of its pool
};

// In which order the targets of an epoch come.
enum class TargetOrder {
  rows,    // any row after any other, all orders equally likely
  blocks,  // blocks of neighbouring rows in a random order, rows mixed among four blocks
};

enum class ScheduleShape {
  linear,
  cosine,  // slow at both ends
};

[[nodiscard]] HELIP_EXPORT const char* name_of(ShortPolicy policy) noexcept;
[[nodiscard]] HELIP_EXPORT const char* name_of(
    BatchStrategy strategy) noexcept;  // automatic is "auto"
[[nodiscard]] HELIP_EXPORT const char* name_of(TargetOrder order) noexcept;
[[nodiscard]] HELIP_EXPORT const char* name_of(ScheduleShape shape) noexcept;
[[nodiscard]] HELIP_EXPORT ShortPolicy short_policy_from_name(const std::string& name);
[[nodiscard]] HELIP_EXPORT BatchStrategy batch_strategy_from_name(const std::string& name);
[[nodiscard]] HELIP_EXPORT TargetOrder target_order_from_name(const std::string& name);
[[nodiscard]] HELIP_EXPORT ScheduleShape schedule_shape_from_name(const std::string& name);

// Where rank_min, rank_max, draw_temperature and fraction of BatchOptions go, and how long it takes
// them. What has no value here stays as it is. Afterwards everything stays at the end.
struct HardnessSchedule {
  double epochs = 0.0;  // above 0; 0 means that there is no schedule
  ScheduleShape shape = ScheduleShape::linear;
  std::optional<std::int64_t> rank_min = std::nullopt;
  std::optional<std::int64_t> rank_max = std::nullopt;    // 0 means the pool size k
  std::optional<double> draw_temperature = std::nullopt;  // both ends must be above 0
  std::optional<double> fraction = std::nullopt;
};

struct BatchOptions {
  std::int64_t batch_size = 256;     // rows of a batch and rank, targets and hard pairs together
  std::int64_t hard_per_target = 1;  // p >= 0; a batch has batch_size / (1 + p) targets
  std::uint64_t seed = 0;
  std::int64_t rank = 0;
  std::int64_t world_size = 1;
  std::int64_t rank_min = 0;      // first rank of the window that hard pairs are drawn from
  std::int64_t rank_max = 0;      // one past its last rank; 0 means the pool size k
  double draw_temperature = 0.0;  // 0: uniform; else drawn in proportion to exp(score / this)
  // Share of targets that get hard pairs at all, 0 .. 1; of communities, that are in one.
  double fraction = 1.0;
  ShortPolicy short_policy = ShortPolicy::skip;
  BatchStrategy strategy = BatchStrategy::automatic;
  HardnessSchedule schedule = {};  // of scheduled, and of communities epoch by epoch
  // 0: batch_size / (1 + p); of walk and communities batch_size.
  std::int64_t targets_per_batch = 0;
  TargetOrder order = TargetOrder::rows;
  std::int64_t block = 1024;        // rows of a block of TargetOrder::blocks
  std::int64_t walk_rows = 256;     // targets that one walk collects
  double restart = 0.1;             // probability of a step of a walk back to its first row, 0 .. 1
  std::int64_t community_rows = 8;  // targets of a community, before others join it; at least 2
};

// The rows of one batch.
struct BatchRows {
  std::vector<std::int64_t> index;  // [rows] data-set rows, all different; targets come first
  // [rows] Row of the batch of the target that each row serves: the one that drew it; for a target
  // its own row. Under shared, walk and communities a target may serve another target: whose hard
  // pair it is.
  std::vector<std::int64_t> target;
  // [rows] Under communities the one that each target is in, numbered in the order in which they
  // come in the epoch, over all ranks; -1 of a target that is in none, and of hard pairs that are
  // no targets. Empty under other strategies.
  std::vector<std::int32_t> community;
};

// Counted over the batches made since construction or the last reset.
struct BatchStatistics {
  std::int64_t batches = 0;
  std::int64_t targets = 0;
  std::int64_t plain_targets = 0;  // those with no hard pair in the window when they were drawn
  std::int64_t hard_pairs = 0;     // rows put in as hard pairs
  // Places that a row of the batch filled, without one more (shared, walk, communities).
  std::int64_t shared = 0;
  std::int64_t replaced = 0;  // hard pairs that were in the batch already; the next one was taken
  std::int64_t random_fills = 0;  // rows put in by ShortPolicy::random
  std::int64_t unfilled = 0;  // places left empty: no hard pair of the window, or no room, was left
  std::int64_t equal_targets = 0;     // targets left out: an equal row was in the batch already
  std::int64_t equal_hard_pairs = 0;  // hard pairs passed over for the same; the next one was taken
};

// What hard means at a place of the training.
struct Hardness {
  std::int64_t rank_min = 0;
  std::int64_t rank_max = 0;      // one past the last rank of the window
  double draw_temperature = 0.0;  // 0: uniform
  double fraction = 1.0;          // of the targets, that get hard pairs or are in a community
};

// Targets of an epoch: every eligible row once, over all ranks together, in a random order. They
// are spread evenly, so batches differ by at most one target and no row is dropped at the end.
//
// The targets before a step, of all ranks together, are the first so many of the epoch's order. The
// order depends on the seed, the epoch, the table and the options other than batch_size,
// targets_per_batch, rank and world_size; so what is left of an epoch can be gone through by
// another number of ranks, in batches of another size.
//
// Of rows that are equal, as `groups` says, a batch holds one at most. A target whose equal is
// there already is left out of the epoch, where it still counts as gone.
// Not thread-safe. What was moved from can be assigned to or destroyed, and nothing else.
class HELIP_EXPORT BatchSampler {
 public:
  // Throws invalid_argument (bounds; groups of other rows; short targets under ShortPolicy::error,
  // with their number; fewer eligible targets than ranks).
  BatchSampler(HardPairs pairs, BatchOptions options, RowGroups groups = {});
  // Draws from what the table knows when batch() is called. Which rows will be short is not known
  // yet, so every row is a target: under ShortPolicy::skip places without a hard pair stay empty,
  // and ShortPolicy::error is refused. So are walks and communities, whose order needs the whole
  // table.
  BatchSampler(std::shared_ptr<const GrowingPairs> pairs, BatchOptions options,
               RowGroups groups = {});
  ~BatchSampler();
  BatchSampler(BatchSampler&&) noexcept;
  BatchSampler& operator=(BatchSampler&&) noexcept;

  // Goes to an epoch, or to what is left of it after its first `consumed` targets.
  void set_epoch(std::int64_t epoch, std::int64_t consumed = 0);
  [[nodiscard]] std::int64_t epoch() const noexcept;
  [[nodiscard]] std::int64_t batches_per_epoch()
      const noexcept;  // of a whole one, the same on every rank
  // Batches over what is left after `consumed` targets, the same on every rank. Throws
  // invalid_argument where nothing is left, or too little for every rank.
  [[nodiscard]] std::int64_t batches_after(std::int64_t consumed) const;
  // Targets of the epoch, over all ranks, before `step` of the batches over what was left after
  // `consumed` of them. step = batches_after(consumed) gives all of them.
  [[nodiscard]] std::int64_t targets_before(std::int64_t step, std::int64_t consumed = 0) const;
  [[nodiscard]] BatchRows batch(
      std::int64_t step);  // step from where set_epoch went to; random access
  [[nodiscard]] BatchRows batch(std::int64_t step, std::int64_t rank);  // that of another rank
  // At that step; depends on the epoch and the share of its targets that came before.
  [[nodiscard]] Hardness hardness(std::int64_t step) const;

  [[nodiscard]] std::int64_t eligible_targets() const noexcept;
  [[nodiscard]] std::int64_t skipped_targets() const noexcept;  // by ShortPolicy::skip
  [[nodiscard]] const BatchStatistics& statistics() const noexcept;
  void reset_statistics() noexcept;
  [[nodiscard]] const BatchOptions& options()
      const noexcept;  // with the strategy that automatic chose

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
