// The k best pairs of each target so far, by their exact scores.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <vector>

#include "base/scratch_memory.h"
#include "helip/dropped_pairs.h"
#include "helip/hard_pairs.h"
#include "mine/bound/sweep.h"
#include "mine/corpus/scorer.h"

namespace helip::mining {

// Pairs that would be among the k best of their target but for a filter, by filter; the pairs
// passed over at the head of the ranking.
struct DropCounts {
  std::array<std::int64_t, kVerdicts> kept_out{};
  std::int64_t skipped = 0;
  bool listed = false;  // whether the pairs themselves are wanted
  DroppedPairs pairs;   // in any order

  // Without a pair, for a part of the same work.
  DropCounts part() const {
    DropCounts counts;
    counts.listed = listed;
    return counts;
  }
  void add(const DropCounts& other) {
    for (int i = 0; i < kVerdicts; ++i) kept_out[i] += other.kept_out[i];
    skipped += other.skipped;
    pairs.insert(pairs.end(), other.pairs.begin(), other.pairs.end());
  }
  // The pairs, in their order.
  DroppedPairs take();
};

// Pools as plain columns of the first of their targets, for whoever keeps them.
struct PoolColumns {
  std::int64_t capacity = 0;         // pairs that a pool can hold
  std::span<double> scores;          // [targets, capacity], the memory of the pools
  std::span<std::uint32_t> ids;      // [targets, capacity], likewise
  std::vector<std::uint32_t> sizes;  // [targets]: pairs that a pool holds
  std::vector<float> thresholds;     // [targets]
  // What filters kept out, target by target.
  std::vector<std::uint32_t> kept_out_sizes;  // [targets]
  std::vector<std::uint32_t> kept_out_ids;
  std::vector<double> kept_out_scores;
  std::vector<std::uint8_t> kept_out_verdicts;
};

// A pool does not depend on the order in which pairs are scored, as long as each pair that scores
// at least a target's threshold() at that moment is scored, once, or more often after
// expect_repeats().
// Thread-safe: a target is locked while its pool changes.
class Pools final : public SweepSink {
 public:
  // Target t of the pools is row rows[t]. Keeps the k + skip best. `groups` [corpus.size()]: of a
  // group only the best counts; nullptr: every row is its own. `folder` empty: in memory, else on
  // disk there.
  Pools(const Corpus& corpus, std::vector<std::uint32_t> rows, std::int64_t k, std::int64_t skip,
        const std::uint32_t* groups, const std::filesystem::path& folder = {});

  static std::int64_t bytes_per_target(std::int64_t k, std::int64_t skip) noexcept;

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(rows_.size()); }
  float threshold(std::int64_t target) const noexcept override {
    return thresholds_[static_cast<std::size_t>(target)].load(std::memory_order_relaxed);
  }
  // Only where nothing but the score and the near duplicates decides what is kept.
  bool takes_thresholds() const noexcept override {
    return groups_ == nullptr && !corpus_.rules().use_margin;
  }
  void raise_threshold(std::int64_t target, float threshold) noexcept override;
  // Scores target `target`'s row against `row`, which is target `mirror` unless that is -1.
  void score_pair(std::int64_t target, std::int64_t row, std::int64_t mirror,
                  Scorer& scorer) override;
  // A pair that was scored already, of target `target` alone.
  void consider(std::int64_t target, std::int64_t row, double score, Verdict verdict) {
    if (score >= static_cast<double>(threshold(target))) offer(target, row, score, verdict);
  }
  // From now on pairs may come that came before.
  void expect_repeats() noexcept { repeats_ = true; }
  // What a pool holds now, best first.
  std::vector<Scored> sorted(std::int64_t target) const;
  // Writes a finished pool to row `row` of `band` and counts what was kept out of it. Of queries,
  // ids number the rows that they are mined in.
  void finish(std::int64_t target, HardPairBand& band, std::int64_t row, DropCounts& counts);
  // Lists all that was kept out of a pool, whatever it ranks.
  void list_kept_out(std::int64_t target, DropCounts& counts) const;
  // The first `count` targets; scores and ids are shown where they lie.
  PoolColumns columns(std::int64_t count);
  // Takes the sizes, thresholds and what was kept out of as many targets, of empty pools whose
  // scores and ids were written to where columns() shows them. No id may be outside the corpus, no
  // size above the capacity.
  void restore(const PoolColumns& columns);

 private:
  struct KeptOut {
    Scored pair;
    Verdict verdict;
  };
  class Lock;

  void offer(std::int64_t target, std::int64_t row, double score, Verdict verdict);
  void keep_out(std::int64_t target, const KeptOut& entry);
  // Best first, each once.
  static void sort_kept_out(std::vector<KeptOut>& entries);
  Scored at(std::int64_t target, std::int64_t place) const;
  void set(std::int64_t target, std::int64_t place, const Scored& pair);
  void sift_up(std::int64_t target, std::int64_t place, const Scored& pair);
  void sift_down(std::int64_t target, std::int64_t place, const Scored& pair);
  void raise(std::int64_t target);

  const Corpus& corpus_;
  const std::vector<std::uint32_t> rows_;
  const std::int64_t k_;
  const std::int64_t skip_;
  const std::int64_t capacity_;  // k + skip, or what there is
  const std::uint32_t* groups_;
  bool repeats_ = false;
  // Heaps, the pair that ranks last on top: float64 scores and uint32 ids, [targets, capacity].
  ScratchMemory memory_;
  double* const scores_;
  std::uint32_t* const ids_;
  std::vector<std::uint32_t> sizes_;            // [targets], under the target's lock
  std::vector<std::atomic<float>> thresholds_;  // [targets]
  std::vector<std::atomic<bool>> locked_;       // [targets]
  std::vector<std::unique_ptr<std::vector<KeptOut>>> kept_out_;  // [targets], under the lock
};

}  // namespace helip::mining
