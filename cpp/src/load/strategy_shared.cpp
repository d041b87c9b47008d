#include "load/strategy_shared.h"

#include <algorithm>

#include "base/refuse.h"

namespace helip::load {

Shared::Shared(const BatchOptions& options, const PairSource& pairs) : Strategy(options, pairs) {
  if (options.hard_per_target == 0) {
    refuse("the strategy \"", name_of(options.strategy),
           "\" needs hard_per_target of at least 1: how many rows of the batch a target counts as "
           "its hard pairs");
  }
  if (options.targets_per_batch < 0 || options.targets_per_batch > options.batch_size) {
    refuse("targets_per_batch = ", options.targets_per_batch,
           " must lie in 1 .. batch_size = ", options.batch_size,
           ", or be 0 for the strategy's own number");
  }
}

std::int64_t Shared::targets_per_batch() const noexcept {
  return options().targets_per_batch > 0 ? options().targets_per_batch
                                         : Strategy::targets_per_batch();
}

void Shared::add_hard_pairs(BatchBuilder& batch, const Hardness& hardness) {
  for (std::int64_t target = 0; target < batch.targets(); ++target) {
    if (batch.gets_hard_pairs(target)) serve(batch, target, hardness);
  }
}

void Shared::serve(BatchBuilder& batch, std::int64_t target, const Hardness& hardness) {
  std::int64_t missing = options().hard_per_target;
  std::int64_t busy = 0;  // rows of the window that serve another target
  absent_.clear();
  draw().start(pairs(), batch.row(target), hardness, batch.random(Purpose::draw, target));
  for (std::int64_t rank = draw().next(); rank >= 0 && missing > 0; rank = draw().next()) {
    const std::int64_t row = pairs().id(batch.row(target), rank);
    const std::int64_t place = batch.place_of(row);
    if (place < 0) {
      absent_.push_back(row);
    } else if (batch.serves_itself(place)) {
      batch.let_serve(place, target);
      ++batch.statistics().shared;
      --missing;
    } else {
      ++busy;
    }
  }
  // Rows that only count come after those that the margin loss sees as this target's own.
  const std::int64_t counted = std::min(missing, busy);
  batch.statistics().shared += counted;
  missing -= counted;
  for (auto row = absent_.begin(); missing > 0 && row != absent_.end() && !batch.full(); ++row) {
    if (!batch.admits(*row)) {
      ++batch.statistics().equal_hard_pairs;
      continue;
    }
    batch.add_hard_pair(*row, target);
    --missing;
  }
  CounterRandom fill = batch.random(Purpose::fill, target);
  for (; missing > 0; --missing) batch.fill_up(target, fill);
}

Arranged::Arranged(const BatchOptions& options, const PairSource& pairs) : Shared(options, pairs) {
  const char* name = name_of(options.strategy);
  if (pairs.grows()) {
    refuse("the strategy \"", name,
           "\" puts a whole epoch in order, which pairs that grow cannot repeat; take \"shared\", "
           "or a finished table");
  }
  if (options.draw_temperature != 0.0) {
    refuse("the strategy \"", name,
           "\" takes each hard pair of a row alike, and draw_temperature = ",
           options.draw_temperature, "; narrow the rank window to take the best alone");
  }
  if (options.order != TargetOrder::rows) {
    refuse("the order \"", name_of(options.order), "\" cannot go with the strategy \"", name,
           "\", which has an order of its own");
  }
}

std::int64_t Arranged::targets_per_batch() const noexcept {
  return options().targets_per_batch > 0 ? options().targets_per_batch : options().batch_size;
}

std::int64_t Arranged::most_rows(std::int64_t targets) const noexcept {
  return targets + options().batch_size - targets_per_batch();
}

std::unique_ptr<Strategy> make_shared_pairs(const BatchOptions& options, const PairSource& pairs) {
  return std::make_unique<Shared>(options, pairs);
}

}  // namespace helip::load
