// Recall@k of an approximate method, against the exact pools of some random targets.
#pragma once

#include <cstdint>
#include <vector>

#include "helip/hard_pairs.h"
#include "mine/method/method.h"
#include "mine/pool/recall.h"

namespace helip::mining {

// min(N, 1000) targets drawn by the seed, and their exact pools.
class RecallSample {
 public:
  // Solves those among targets [first, last), in stage "measure".
  RecallSample(MethodContext& context, std::int64_t first, std::int64_t last);
  // Solves all of them, unless the checkpoint has their pools.
  explicit RecallSample(MethodContext& context);

  const std::vector<std::int64_t>& targets() const noexcept { return targets_; }  // ascending
  const HardPairBand& exact() const noexcept { return exact_; }                   // their pools
  // `found` holds the pools of targets(), in that order. A pair found counts when it scores no
  // less than the last one of the exact pool, so that ties do not matter.
  std::vector<RecallHits> hits(const HardPairBand& found) const;
  RecallEstimate estimate(const HardPairBand& found) const { return estimate_recall(hits(found)); }

 private:
  void draw(const MethodContext& context, std::int64_t first, std::int64_t last);
  void solve(MethodContext& context);

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
