// Batches of targets alone, made by the order in which an epoch has them: neighbours in that order
// are hard pairs of each other.
#pragma once

#include <cstdint>

#include "load/strategy_shared.h"

namespace helip::load {

// The base of strategies that arrange a whole epoch by the table. Each target takes up to
// hard_per_target rows of its batch that lie in its window, as under Shared.
class Arranged : public Shared {
 public:
  // Throws Error(invalid_argument) for pairs that grow, a temperature, or another order of targets.
  Arranged(const BatchOptions& options, const PairSource& pairs);

  std::int64_t targets_per_batch() const noexcept override;
  // A batch that has fewer targets than others, since they are spread evenly, gets no more rows.
  std::int64_t most_rows(std::int64_t targets) const noexcept override;
};

}  // namespace helip::load
