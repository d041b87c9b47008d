// BatchOptions: the names of their values, and their bounds.
#include <cmath>

#include "base/refuse.h"
#include "base/text.h"
#include "load/hardness_schedule.h"
#include "load/strategy.h"

namespace helip {
namespace {

constexpr const char* kShortPolicies[] = {"skip", "random", "error", "keep"};
constexpr const char* kStrategies[] = {"auto",   "uniform", "temperature", "scheduled",
                                       "shared", "walk",    "communities"};
constexpr const char* kOrders[] = {"rows", "blocks"};
constexpr const char* kShapes[] = {"linear", "cosine"};

void check_ranks(const BatchOptions& options) {
  if (options.world_size < 1) refuse("world_size = ", options.world_size, " must be at least 1");
  if (options.rank < 0 || options.rank >= options.world_size) {
    refuse("rank = ", options.rank, " must lie in 0 .. world_size - 1 = ", options.world_size - 1);
  }
}

void check_window(const BatchOptions& options, std::int64_t k) {
  const std::int64_t p = options.hard_per_target;
  if (options.rank_max < 0 || options.rank_max > k) {
    refuse("rank_max = ", options.rank_max, " must lie in 1 .. k = ", k,
           ", the pool size of the table, or be 0 for all of it");
  }
  const std::int64_t last = options.rank_max == 0 ? k : options.rank_max;
  if (options.rank_min < 0 || options.rank_min >= last) {
    refuse("rank_min = ", options.rank_min, " must lie in 0 .. ", last - 1,
           ", below the end of the rank window");
  }
  if (p > last - options.rank_min) {
    refuse("hard_per_target = ", p, " exceeds the ", last - options.rank_min,
           " ranks of the window [", options.rank_min, ", ", last,
           "); widen the window, mine a larger k or ask for fewer hard pairs");
  }
}

// An option of a strategy that was not chosen would be passed over in silence.
void check_foreign_options(const BatchOptions& options) {
  const char* chosen = name_of(options.strategy);
  if (load::has_schedule(options) && options.strategy != BatchStrategy::scheduled &&
      options.strategy != BatchStrategy::communities) {
    refuse("a schedule is of the strategies \"scheduled\" and \"communities\", not \"", chosen,
           "\"; take one of these, or give no schedule");
  }
  if (options.targets_per_batch != 0 && options.strategy != BatchStrategy::shared &&
      options.strategy != BatchStrategy::walk && options.strategy != BatchStrategy::communities) {
    refuse("targets_per_batch = ", options.targets_per_batch,
           " is of the strategies \"shared\", \"walk\" and \"communities\"; with \"", chosen,
           "\" a batch has batch_size / (1 + hard_per_target) targets");
  }
}

}  // namespace

const char* name_of(ShortPolicy policy) noexcept {
  return kShortPolicies[static_cast<std::size_t>(policy)];
}
const char* name_of(BatchStrategy strategy) noexcept {
  return kStrategies[static_cast<std::size_t>(strategy)];
}
const char* name_of(TargetOrder order) noexcept { return kOrders[static_cast<std::size_t>(order)]; }
const char* name_of(ScheduleShape shape) noexcept {
  return kShapes[static_cast<std::size_t>(shape)];
}

ShortPolicy short_policy_from_name(const std::string& name) {
  return static_cast<ShortPolicy>(number_of_name("short policy", name, kShortPolicies));
}
BatchStrategy batch_strategy_from_name(const std::string& name) {
  return static_cast<BatchStrategy>(number_of_name("strategy", name, kStrategies));
}
TargetOrder target_order_from_name(const std::string& name) {
  return static_cast<TargetOrder>(number_of_name("order", name, kOrders));
}
ScheduleShape schedule_shape_from_name(const std::string& name) {
  return static_cast<ScheduleShape>(number_of_name("shape of the schedule", name, kShapes));
}

namespace load {

BatchOptions checked(BatchOptions options, const PairSource& pairs) {
  const std::int64_t p = options.hard_per_target;
  if (p < 0) refuse("hard_per_target = ", p, " is negative; use 0 for batches without hard pairs");
  if (options.batch_size < 1) refuse("batch_size = ", options.batch_size, " must be at least 1");
  if (p >= options.batch_size) {
    refuse("batch_size = ", options.batch_size,
           " has no room for one target and hard_per_target = ", p,
           " hard pairs; raise batch_size above hard_per_target");
  }
  check_ranks(options);
  if (!std::isfinite(options.draw_temperature) || options.draw_temperature < 0.0) {
    refuse("draw_temperature = ", options.draw_temperature,
           " must be finite and not negative; 0 draws hard pairs uniformly");
  }
  if (!(options.fraction >= 0.0 && options.fraction <= 1.0)) {
    refuse("fraction = ", options.fraction, " must lie in 0 .. 1");
  }
  if (options.block < 1) refuse("block = ", options.block, " must be at least 1");
  if (pairs.grows() && options.short_policy == ShortPolicy::error) {
    refuse("the short policy \"error\" asks for hard pairs that are not found yet; use \"skip\" ",
           "or \"random\" with pairs that grow");
  }
  if (options.strategy == BatchStrategy::automatic) {
    options.strategy = has_schedule(options)            ? BatchStrategy::scheduled
                       : options.draw_temperature > 0.0 ? BatchStrategy::temperature
                                                        : BatchStrategy::uniform;
  }
  check_foreign_options(options);
  if (p > 0) check_window(options, pairs.k());  // without hard pairs the window draws nothing
  return options;
}

}  // namespace load
}  // namespace helip
