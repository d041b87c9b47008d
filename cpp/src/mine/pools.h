// The best candidates of each target of a band so far, in bounded memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "filter.h"
#include "helip/hard_pairs.h"
#include "scorer.h"

namespace helip::mining {

struct Candidate {
  float score;  // within `error` of the exact score, if it counts as a hard pair at all
  std::uint32_t id;
};

// Each target has a threshold: what scores below it by a filter cannot be in its pool. It rises
// with the k-th best approximate score, less twice the error bound, whenever the buffer is full.
// Where so many scores lie that close together that no room is left, the buffer is scored exactly
// and cut to k, ties by id. Either way the exact top-k of all candidates offered stays inside, so
// the pool does not depend on their order.
//
// offer() may be called from many threads; a target is locked while its buffer changes.
class Pools {
 public:
  // `targets` must outlive it. Buffers hold no more than `candidates` entries, which is how many
  // may be offered to one target.
  Pools(const Corpus& corpus, const RowList& targets, std::int64_t k, std::int64_t candidates,
        double error);

  // Bytes of one target's buffer.
  static std::int64_t bytes_per_target(std::int64_t k, std::int64_t candidates) noexcept;

  std::int64_t size() const noexcept { return targets_.size; }
  float threshold(std::int64_t target) const noexcept {
    return threshold_[static_cast<std::size_t>(target)].load(std::memory_order_relaxed);
  }
  // Offers `count` candidates, none of them the target itself and none a second time.
  void offer(std::int64_t target, const Candidate* candidates, std::int64_t count, Scorer& scorer);
  // Scores what is left of one target exactly and writes it to row `row` of `band`.
  void finish(std::int64_t target, Scorer& scorer, HardPairBand& band, std::int64_t row);

 private:
  Candidate* buffer(std::int64_t target) const noexcept {
    return buffers_.get() + target * capacity_;
  }
  std::int64_t prune(std::int64_t target, std::int64_t count);
  std::int64_t cut_exactly(std::int64_t target, std::int64_t count, Scorer& scorer);
  std::vector<Scored> exact(std::int64_t target, std::int64_t count, Scorer& scorer) const;
  void raise(std::int64_t target, double threshold) noexcept;

  const RowList targets_;
  const std::int64_t k_;
  const std::int64_t capacity_;
  const double error_;
  std::unique_ptr<Candidate[]> buffers_;       // [targets, capacity]
  std::vector<std::atomic<float>> threshold_;  // [targets]
  std::vector<std::uint32_t> count_;           // [targets], under the target's lock
  std::vector<std::atomic<bool>> locked_;      // [targets]
};

}  // namespace helip::mining
