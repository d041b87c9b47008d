// One way to make batches. Each is a file of its own, strategy_NAME.cpp, behind make_strategy.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "helip/batch_sampler.h"
#include "load/batch_builder.h"
#include "load/epoch.h"
#include "load/hard_pair_draw.h"
#include "load/pair_source.h"

namespace helip::load {

// As it stands: targets in the order of BatchOptions::order, each with hard pairs of its own.
// Not thread-safe.
class Strategy {
 public:
  // Borrows both. The options were checked as far as they concern every strategy; a constructor
  // checks those that are its own.
  Strategy(const BatchOptions& options, const PairSource& pairs);
  virtual ~Strategy();
  Strategy(const Strategy&) = delete;
  Strategy& operator=(const Strategy&) = delete;

  // Targets of a whole batch; at least 1.
  virtual std::int64_t targets_per_batch() const noexcept;
  // Rows, targets included, of a batch that has so many targets.
  virtual std::int64_t most_rows(std::int64_t targets) const noexcept;
  // After `epochs` epochs of training, a whole number and a share.
  virtual Hardness hardness(double epochs) const noexcept;
  // A target with fewer than hard_per_target hard pairs in this window is short.
  virtual Hardness deepest() const noexcept;
  // Puts the targets of an epoch, which come in rising order, into the order of that epoch. It must
  // not depend on the size of batches, nor on ranks. Returns the community of each [targets], see
  // BatchRows; empty: there are none.
  virtual std::vector<std::int32_t> arrange(std::vector<std::int64_t>& targets,
                                            const EpochRandom& random) const;
  // Gives hard pairs to a batch that holds its targets.
  virtual void add_hard_pairs(BatchBuilder& batch, const Hardness& hardness);

 protected:
  const BatchOptions& options() const noexcept { return options_; }
  const PairSource& pairs() const noexcept { return pairs_; }
  HardPairDraw& draw() noexcept { return draw_; }

 private:
  const BatchOptions& options_;
  const PairSource& pairs_;
  HardPairDraw draw_;
};

// `options` with the strategy that automatic stands for. Throws invalid_argument where they are
// outside of bounds that hold for every strategy; a strategy checks the options that are its own.
BatchOptions checked(BatchOptions options, const PairSource& pairs);

// `options.strategy` is not automatic. Borrows all three.
std::unique_ptr<Strategy> make_strategy(const BatchOptions& options, const PairSource& pairs,
                                        const RowGroups& groups);

std::unique_ptr<Strategy> make_uniform(const BatchOptions& options, const PairSource& pairs);
std::unique_ptr<Strategy> make_temperature(const BatchOptions& options, const PairSource& pairs);
std::unique_ptr<Strategy> make_scheduled(const BatchOptions& options, const PairSource& pairs);
std::unique_ptr<Strategy> make_shared_pairs(const BatchOptions& options, const PairSource& pairs);
std::unique_ptr<Strategy> make_walk(const BatchOptions& options, const PairSource& pairs);
std::unique_ptr<Strategy> make_communities(const BatchOptions& options, const PairSource& pairs,
                                           const RowGroups& groups);

}  // namespace helip::load
