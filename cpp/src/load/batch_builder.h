// A batch while it is made: its rows, whom they serve, and what is counted.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "helip/batch_sampler.h"
#include "load/epoch.h"
#include "load/pair_source.h"

namespace helip::load {

// Serves many batches and keeps its buffers. Not thread-safe.
class BatchBuilder {
 public:
  // Borrows all four.
  BatchBuilder(const PairSource& pairs, const BatchOptions& options, const RowGroups& groups,
               BatchStatistics& statistics);

  // A new batch of those of these targets that equal none before them; they come first and serve
  // themselves.
  // `fraction` of the targets get hard pairs.
  void begin(std::span<const std::int64_t> targets, const EpochRandom& random, double fraction);
  // It gets at most `most_rows` rows in all.
  void allow(std::int64_t most_rows);
  BatchRows take();

  std::int64_t targets() const noexcept { return targets_; }
  std::int64_t row(std::int64_t place) const {
    return batch_.index[static_cast<std::size_t>(place)];
  }
  bool full() const noexcept;
  // Where a row is in the batch, or -1.
  std::int64_t place_of(std::int64_t row) const;
  // Whether no row of the batch is equal to this one, which is not there itself.
  bool admits(std::int64_t row) const;
  bool serves_itself(std::int64_t place) const;
  // By a draw for each target.
  bool gets_hard_pairs(std::int64_t target_place) const;

  CounterRandom random(Purpose purpose, std::int64_t target_place) const {
    return random_.of(purpose, row(target_place));
  }

  // Puts a row into the batch that is not there yet, as a hard pair of that target.
  void add_hard_pair(std::int64_t row, std::int64_t target_place);
  // A row that is there, and serves itself, serves that target from now on.
  void let_serve(std::int64_t place, std::int64_t target_place);
  // A place of that target for which no hard pair is left: a random row, or nothing.
  void fill_up(std::int64_t target_place, CounterRandom& random);

  const PairSource& pairs() const noexcept { return pairs_; }
  const BatchOptions& options() const noexcept { return options_; }
  BatchStatistics& statistics() noexcept { return statistics_; }

 private:
  void add(std::int64_t row, std::int64_t target_place);
  std::int64_t random_row(CounterRandom& random) const;

  const PairSource& pairs_;
  const BatchOptions& options_;
  const RowGroups& groups_;
  BatchStatistics& statistics_;
  EpochRandom random_;
  std::int64_t targets_ = 0;
  std::int64_t most_rows_ = 0;
  double fraction_ = 1.0;
  BatchRows batch_;
  std::unordered_map<std::int64_t, std::int64_t> places_;  // row -> its place
  std::unordered_set<std::int64_t> taken_;                 // groups of the rows
};

}  // namespace helip::load
