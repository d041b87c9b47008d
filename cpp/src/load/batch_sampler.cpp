#include "helip/batch_sampler.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "base/floating_mode.h"
#include "base/refuse.h"
#include "base/rethrow.h"
#include "load/batch_builder.h"
#include "load/epoch.h"
#include "load/pair_source.h"
#include "load/strategy.h"

namespace helip {

using load::PairSource;
using load::TargetSpread;

struct BatchSampler::Impl {
  Impl(PairSource source, const BatchOptions& chosen, RowGroups equal)
      : pairs(std::move(source)),
        options(load::checked(chosen, pairs)),
        groups(std::move(equal)),
        strategy(load::make_strategy(options, pairs, groups)),
        builder(pairs, options, groups, statistics),
        deepest(strategy->deepest()) {
    groups.check(pairs.size());
    count_targets();
    const std::int64_t world = options.world_size;
    if (eligible < world) {
      refuse(eligible, " eligible targets (", skipped, " short ones skipped) are fewer than the ",
             world, world == 1 ? " rank" : " ranks",
             "; lower hard_per_target, use the short policy ",
             "\"keep\" or \"random\", or mine with looser thresholds");
    }
    const TargetSpread whole(eligible, world, strategy->targets_per_batch());
    if (!whole.serves_every_rank()) {  // one target a batch, and the last step has too few for all
      refuse("batch_size = ", options.batch_size, " gives one target a batch, and ", eligible,
             " targets over ", world, " ranks would leave empty batches; raise ",
             one_more_target());
    }
    steps = whole.steps;
  }

  // What gives a batch a second target.
  std::string one_more_target() const {
    if (options.targets_per_batch > 0) return "targets_per_batch to 2";
    return "batch_size to " + std::to_string(2 * (1 + options.hard_per_target));
  }

  bool is_eligible(std::int64_t row) const noexcept {
    const ShortPolicy policy = options.short_policy;
    if (policy == ShortPolicy::random || policy == ShortPolicy::keep) return true;
    if (options.hard_per_target == 0 || pairs.grows()) return true;
    const std::int64_t last = std::min<std::int64_t>(pairs.count(row), deepest.rank_max);
    return last - deepest.rank_min >= options.hard_per_target;
  }

  void count_targets() {
    const std::int64_t rows = pairs.size();
    std::int64_t first_short = -1;
    for (std::int64_t row = 0; row < rows; ++row) {
      if (is_eligible(row)) continue;
      if (skipped++ == 0) first_short = row;
    }
    eligible = rows - skipped;
    if (options.short_policy == ShortPolicy::error && skipped > 0) {
      refuse(
          skipped, " of ", rows,
          " targets have fewer than hard_per_target = ", options.hard_per_target,
          " hard pairs in the rank window [", deepest.rank_min, ", ", deepest.rank_max,
          "), the first of them row ", first_short,
          "; use the short policy \"skip\", \"keep\" or \"random\", or ask for fewer hard pairs");
    }
  }

  TargetSpread spread_after(std::int64_t gone) const {
    if (gone < 0 || gone >= eligible) {
      refuse("consumed = ", gone, " must lie in 0 .. ", eligible - 1,
             ", below the number of eligible targets");
    }
    const TargetSpread rest(eligible - gone, options.world_size, strategy->targets_per_batch());
    if (!rest.serves_every_rank()) {
      refuse(rest.targets, rest.targets == 1 ? " target" : " targets",
             " of the epoch are left, and in batches of at most ", strategy->targets_per_batch(),
             " they would leave some of ", options.world_size,
             " ranks without one; finish the epoch with fewer ranks or larger batches, or go to "
             "the next epoch and give these targets up");
    }
    return rest;
  }

  std::int64_t targets_before(std::int64_t step, std::int64_t gone) const {
    const TargetSpread rest = spread_after(gone);
    if (step < 0 || step > rest.steps) refuse("step = ", step, " must lie in 0 .. ", rest.steps);
    return gone + rest.begin_of(step * rest.world_size);
  }

  Hardness hardness(std::int64_t step) const {
    const DefaultFloatingMode mode;
    // The share of all targets that are gone, on all ranks: the same for each of them.
    const auto share =
        static_cast<double>(targets_before(step, consumed)) / static_cast<double>(eligible);
    return strategy->hardness(static_cast<double>(epoch) + share);
  }

  // The epoch's targets in their order; with their communities the only state in proportion to the
  // rows.
  void arrange() {
    if (order_ready) return;
    order.clear();
    order.reserve(static_cast<std::size_t>(eligible));
    for (std::int64_t row = 0; row < pairs.size(); ++row) {
      if (is_eligible(row)) order.push_back(row);
    }
    communities = strategy->arrange(order, {options.seed, epoch});
    order_ready = true;
  }

  BatchRows make(std::int64_t step, std::int64_t rank) {
    const DefaultFloatingMode mode;
    if (rank < 0 || rank >= options.world_size) {
      refuse("rank = ", rank, " must lie in 0 .. ", options.world_size - 1);
    }
    const TargetSpread rest = spread_after(consumed);
    if (step < 0 || step >= rest.steps) {
      refuse("step = ", step, " must lie in 0 .. ", rest.steps - 1,
             ", below the number of batches");
    }
    arrange();
    const std::int64_t number = step * options.world_size + rank;
    const std::int64_t begin = rest.begin_of(number);
    const std::int64_t end = rest.begin_of(number + 1);
    const std::span<const std::int64_t> targets{order.data() + consumed + begin,
                                                static_cast<std::size_t>(end - begin)};
    const Hardness now = hardness(step);
    builder.begin(targets, {options.seed, epoch}, now.fraction);
    builder.allow(strategy->most_rows(builder.targets()));
    if (options.hard_per_target > 0) {
      for (std::int64_t place = 0; place < builder.targets(); ++place) {
        if (pairs.count(builder.row(place)) <= now.rank_min) ++statistics.plain_targets;
      }
      strategy->add_hard_pairs(builder, now);
    }
    pairs.require_whole();
    const std::int64_t count = builder.targets();
    BatchRows batch = builder.take();
    if (!communities.empty()) {
      batch.community.assign(batch.index.size(), -1);
      // Equal targets were left out of those in order.
      auto own = communities.begin() + consumed + begin;
      auto target = targets.begin();
      for (std::int64_t place = 0; place < count; ++place, ++target, ++own) {
        for (; *target != batch.index[static_cast<std::size_t>(place)]; ++target) ++own;
        batch.community[static_cast<std::size_t>(place)] = *own;
      }
    }
    return batch;
  }

  PairSource pairs;
  BatchOptions options;
  RowGroups groups;
  BatchStatistics statistics;
  std::unique_ptr<load::Strategy> strategy;  // borrows pairs and options, as the builder does
  load::BatchBuilder builder;
  Hardness deepest;  // a target that is short in this window is a short one
  std::int64_t eligible = 0;
  std::int64_t skipped = 0;
  std::int64_t steps = 0;  // of a whole epoch
  std::int64_t epoch = 0;
  std::int64_t consumed = 0;  // targets of the epoch before the first batch
  bool order_ready = false;
  std::vector<std::int64_t> order;        // [eligible] rows, once order_ready
  std::vector<std::int32_t> communities;  // [eligible] of these, or empty
};

BatchSampler::BatchSampler(HardPairs pairs, BatchOptions options, RowGroups groups) try
    : impl_(std::make_unique<Impl>(PairSource(std::move(pairs)), options, std::move(groups))) {
} catch (...) {
  rethrow_as_error();
}
BatchSampler::BatchSampler(std::shared_ptr<const GrowingPairs> pairs, BatchOptions options,
                           RowGroups groups) try
    : impl_(std::make_unique<Impl>(PairSource(std::move(pairs)), options, std::move(groups))) {
} catch (...) {
  rethrow_as_error();
}
BatchSampler::~BatchSampler() = default;
BatchSampler::BatchSampler(BatchSampler&&) noexcept = default;
BatchSampler& BatchSampler::operator=(BatchSampler&&) noexcept = default;

void BatchSampler::set_epoch(std::int64_t epoch, std::int64_t consumed) try {
  if (epoch < 0) refuse("epoch = ", epoch, " must not be negative");
  impl_->spread_after(consumed);
  if (epoch != impl_->epoch) impl_->order_ready = false;
  impl_->epoch = epoch;
  impl_->consumed = consumed;
} catch (...) {
  rethrow_as_error();
}

std::int64_t BatchSampler::epoch() const noexcept { return impl_->epoch; }
std::int64_t BatchSampler::batches_per_epoch() const noexcept { return impl_->steps; }
std::int64_t BatchSampler::batches_after(std::int64_t consumed) const {
  return impl_->spread_after(consumed).steps;
}
std::int64_t BatchSampler::targets_before(std::int64_t step, std::int64_t consumed) const try {
  return impl_->targets_before(step, consumed);
} catch (...) {
  rethrow_as_error();
}
BatchRows BatchSampler::batch(std::int64_t step) { return batch(step, impl_->options.rank); }
BatchRows BatchSampler::batch(std::int64_t step, std::int64_t rank) try {
  return impl_->make(step, rank);
} catch (...) {
  rethrow_as_error();
}
Hardness BatchSampler::hardness(std::int64_t step) const { return impl_->hardness(step); }
std::int64_t BatchSampler::eligible_targets() const noexcept { return impl_->eligible; }
std::int64_t BatchSampler::skipped_targets() const noexcept { return impl_->skipped; }
const BatchStatistics& BatchSampler::statistics() const noexcept { return impl_->statistics; }
void BatchSampler::reset_statistics() noexcept { impl_->statistics = {}; }
const BatchOptions& BatchSampler::options() const noexcept { return impl_->options; }

}  // namespace helip
