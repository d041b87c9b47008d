#include "load/strategy.h"

#include "base/refuse.h"
#include "load/epoch.h"
#include "load/hardness_schedule.h"

namespace helip::load {

Strategy::Strategy(const BatchOptions& options, const PairSource& pairs)
    : options_(options), pairs_(pairs) {}
Strategy::~Strategy() = default;

std::int64_t Strategy::targets_per_batch() const noexcept {
  return options_.batch_size / (1 + options_.hard_per_target);
}

std::int64_t Strategy::most_rows(std::int64_t /*targets*/) const noexcept {
  return options_.batch_size;
}

Hardness Strategy::hardness(double /*epochs*/) const noexcept {
  return hardness_at_start(options_, pairs_.k());
}

Hardness Strategy::deepest() const noexcept { return hardness_at_start(options_, pairs_.k()); }

std::vector<std::int32_t> Strategy::arrange(std::vector<std::int64_t>& targets,
                                            const EpochRandom& random) const {
  switch (options_.order) {
    case TargetOrder::rows: shuffle_rows(targets, random.of(Purpose::order)); break;
    case TargetOrder::blocks:
      shuffle_blocks(targets, options_.block, random.of(Purpose::order));
      break;
  }
  return {};
}

void Strategy::add_hard_pairs(BatchBuilder& batch, const Hardness& hardness) {
  for (std::int64_t target = 0; target < batch.targets(); ++target) {
    if (!batch.gets_hard_pairs(target)) continue;
    draw_.start(pairs_, batch.row(target), hardness, batch.random(Purpose::draw, target));
    CounterRandom fill = batch.random(Purpose::fill, target);
    for (std::int64_t place = 0; place < options_.hard_per_target; ++place) {
      bool met_again = false;
      std::int64_t row = -1;
      for (std::int64_t rank = draw_.next(); rank >= 0 && row < 0;) {
        const std::int64_t drawn = pairs_.id(batch.row(target), rank);
        if (batch.place_of(drawn) >= 0) {
          met_again = true;
          rank = draw_.next();
        } else if (!batch.admits(drawn)) {
          ++batch.statistics().equal_hard_pairs;
          rank = draw_.next();
        } else {
          row = drawn;
        }
      }
      if (row < 0) {
        batch.fill_up(target, fill);
        continue;
      }
      batch.add_hard_pair(row, target);
      if (met_again) ++batch.statistics().replaced;
    }
  }
}

std::unique_ptr<Strategy> make_strategy(const BatchOptions& options, const PairSource& pairs,
                                        const RowGroups& groups) {
  switch (options.strategy) {
    case BatchStrategy::automatic: break;
    case BatchStrategy::uniform: return make_uniform(options, pairs);
    case BatchStrategy::temperature: return make_temperature(options, pairs);
    case BatchStrategy::scheduled: return make_scheduled(options, pairs);
    case BatchStrategy::shared: return make_shared_pairs(options, pairs);
    case BatchStrategy::walk: return make_walk(options, pairs);
    case BatchStrategy::communities: return make_communities(options, pairs, groups);
  }
  refuse("the batch strategy must be chosen before it is made");
}

}  // namespace helip::load
