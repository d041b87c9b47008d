// Recall@k of an approximate method, against the exact pools of some random targets.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "helip/hard_pairs.h"

namespace helip::mining {

class CheckpointState;
class Context;

struct RecallEstimate {
  std::int64_t targets = 0;  // with a pool that is not empty
  double estimate = 1.0;     // mean share of the exact pool that was found
  // 95 % Wilson score interval with one trial a target: a share varies less than a coin of the
  // same mean, so the interval is on the safe side.
  double low = 0.0;
  double high = 1.0;
};

// What was found of one target's exact pool.
struct RecallHits {
  std::int64_t hits = 0;
  std::int64_t wanted = 0;
};

RecallEstimate estimate_recall(const std::vector<RecallHits>& found);
// The lower limit where a sample of so many rows misses nothing: no more can be shown.
double most_recall_shown(std::int64_t rows);
// As a report has it, and back.
nlohmann::ordered_json recall_json(const RecallEstimate& recall);
RecallEstimate recall_of_json(const nlohmann::json& json);

// min(N, 1000) targets drawn by the seed, and their exact pools.
class RecallSample {
 public:
  // Solves those among targets [first, last), in stage "measure".
  RecallSample(const Context& context, std::int64_t first, std::int64_t last);
  // Solves all of them, unless the checkpoint has their pools.
  explicit RecallSample(const Context& context);
  // Which must stay until it is saved.
  void save(CheckpointState& state) const;

  const std::vector<std::int64_t>& targets() const noexcept { return targets_; }  // ascending
  // `found` holds the pools of targets(), in that order. A pair found counts when it scores no
  // less than the last one of the exact pool, so that ties do not matter.
  std::vector<RecallHits> hits(const HardPairBand& found) const;
  RecallEstimate estimate(const HardPairBand& found) const { return estimate_recall(hits(found)); }

 private:
  void draw(const Context& context, std::int64_t first, std::int64_t last);
  void solve(const Context& context);

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
