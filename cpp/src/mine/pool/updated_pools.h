// Pools of a table that is brought up to date: those that begin anew, those that go on, and first
// thresholds from what the table says of close rows.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "base/aligned.h"
#include "base/team.h"
#include "helip/hard_pairs.h"
#include "mine/bound/codes.h"
#include "mine/bound/row_order.h"
#include "mine/bound/sweep.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/scorer.h"
#include "mine/pool/pools.h"

namespace helip::mining {

// Numbers of a sink: fresh targets first, in the order that was given; then those of the band, old
// targets whose pools go on, in the order of theirs. Thread-safe as Pools are.
class UpdatedPools final : public SweepSink {
 public:
  // `before` is the table so far; its scores of rows that are marked in `outdated` [corpus.size()]
  // are void. `fresh`: rows of the targets that begin anew.
  UpdatedPools(const Corpus& corpus, const HardPairs& before,
               const std::vector<std::uint8_t>& outdated, std::vector<std::uint32_t> fresh);

  std::int64_t fresh() const noexcept { return fresh_pools_.size(); }
  // Old targets that follow; what the band before them was is forgotten.
  void begin_band(std::vector<std::uint32_t> rows);

  float threshold(std::int64_t target) const noexcept override;
  bool takes_thresholds() const noexcept override { return fresh_pools_.takes_thresholds(); }
  void raise_threshold(std::int64_t target, float threshold) noexcept override;
  void score_pair(std::int64_t target, std::int64_t row, std::int64_t mirror,
                  Scorer& scorer) override;

  // Writes the pool of a target to row `row` of `band`, and lists what was kept out of it where
  // `drops` wants that; thread-safe for different rows.
  void finish(std::int64_t target, HardPairBand& band, std::int64_t row, Scorer& scorer,
              DropCounts& drops);

 private:
  void consider(std::int64_t target, std::int64_t row, double score, Verdict verdict);
  void merge(std::int64_t target, HardPairBand& band, std::int64_t row, Scorer& scorer) const;

  const Corpus& corpus_;
  const HardPairs& before_;
  const std::vector<std::uint8_t>& outdated_;
  const std::vector<std::uint32_t> fresh_rows_;
  Pools fresh_pools_;
  std::vector<std::uint32_t> band_rows_;
  std::unique_ptr<Pools> band_pools_;  // of pairs with new rows alone
};

// Thresholds of rows whose pools begin anew, before they are compared with any other. The table so
// far tells which old rows lie close together: from a few that lie close to a row, its pools lead
// to more.
class TableThresholds {
 public:
  // `before` is the table so far; its scores of rows that are marked in `outdated` [corpus.size()]
  // are void.
  TableThresholds(const Corpus& corpus, const Codes& codes, const RowOrder& order,
                  const HardPairs& before, const std::vector<std::uint8_t>& outdated);

  // Raises the threshold of target t of the sink, row rows[t], to what as many rows as a pool holds
  // score at least.
  void raise(const std::vector<std::uint32_t>& rows, SweepSink& sink, Team& team) const;

 private:
  class Search;

  const Corpus& corpus_;
  const Codes& codes_;
  const HardPairs& before_;
  const std::vector<std::uint8_t>& outdated_;
  std::vector<std::uint32_t> place_;   // of each row's codes; zero and deleted ones have none
  std::vector<std::uint32_t> sample_;  // old rows, where the way to those close to a new one begins
  AlignedArray<std::int8_t> sample_codes_;  // of the first filter, close together
};

}  // namespace helip::mining
