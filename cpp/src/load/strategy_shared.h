// Hard pairs that serve several targets of a batch at once, and strategies built on them.
#pragma once

#include <cstdint>
#include <vector>

#include "load/strategy.h"

namespace helip::load {

// A row that is in the batch already, a target or another's hard pair, fills a place of a target
// whose window it is in; only for what is then missing do rows come in, while there is room. So the
// targets may be more than batch_size / (1 + hard_per_target).
//
// A row has one entry in BatchRows::target. A target that serves itself takes the first other
// target whose hard pair it is; a row that serves another target already keeps that one.
class Shared : public Strategy {
 public:
  Shared(const BatchOptions& options, const PairSource& pairs);

  std::int64_t targets_per_batch() const noexcept override;
  void add_hard_pairs(BatchBuilder& batch, const Hardness& hardness) override;

 private:
  void serve(BatchBuilder& batch, std::int64_t target, const Hardness& hardness);

  std::vector<std::int64_t> absent_;  // rows of a window that are not in the batch, as drawn
};

// The base of strategies that make batches of targets alone and arrange a whole epoch by the table:
// neighbours in that order are hard pairs of each other. Each target takes up to hard_per_target
// rows of its batch that lie in its window, as under Shared.
class Arranged : public Shared {
 public:
  // Throws Error(invalid_argument) for pairs that grow, a temperature, or another order of targets.
  Arranged(const BatchOptions& options, const PairSource& pairs);

  std::int64_t targets_per_batch() const noexcept override;
  // A batch that has fewer targets than others, since they are spread evenly, gets no more rows.
  std::int64_t most_rows(std::int64_t targets) const noexcept override;
};

}  // namespace helip::load
