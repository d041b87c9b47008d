#include "load/strategy_arranged.h"

#include "base/refuse.h"

namespace helip::load {

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

}  // namespace helip::load
