// Recall@k of an approximate method, against the exact pools of some random targets.
#pragma once

#include <cstdint>
#include <vector>

#include "helip/hard_pairs.h"

namespace helip::mining {

struct Context;

struct RecallEstimate {
  std::int64_t targets = 0;  // with a pool that is not empty
  double estimate = 1.0;     // mean share of the exact pool that was found
  // 95 % Wilson score interval with one trial a target: a share varies less than a coin of the
  // same mean, so the interval is on the safe side.
  double low = 0.0;
  double high = 1.0;
};

// min(N, 1000) targets drawn by the seed, and their exact pools.
class RecallSample {
 public:
  // Solves them, in stage "measure".
  explicit RecallSample(const Context& context);

  const std::vector<std::int64_t>& targets() const noexcept { return targets_; }  // ascending
  // `found` holds the pools of targets(), in that order. A pair found counts when it scores no
  // less than the last one of the exact pool, so that ties do not matter.
  RecallEstimate estimate(const HardPairBand& found) const;

 private:
  std::vector<std::int64_t> targets_;
  HardPairBand exact_;
};

// Passes bands on and keeps the rows of the sample.
class RecallSink final : public HardPairSink {
 public:
  RecallSink(const RecallSample& sample, HardPairSink& next);
  void write(const HardPairBand& band) override;
  const HardPairBand& found() const noexcept { return found_; }

 private:
  const RecallSample& sample_;
  HardPairSink& next_;
  HardPairBand found_;
  std::size_t seen_ = 0;
};

}  // namespace helip::mining
