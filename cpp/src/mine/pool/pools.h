// The k best pairs of each target so far, by their exact scores.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <vector>

#include "base/scratch_memory.h"
#include "helip/hard_pairs.h"
#include "mine/bound/sweep.h"
#include "mine/corpus/scorer.h"
#include "mine/job/checkpoint.h"

namespace helip::mining {

// Pairs that would be among the k best of their target but for a filter, by filter; the pairs
// passed over at the head of the ranking.
struct DropCounts {
  std::array<std::int64_t, kVerdicts> kept_out{};
  std::int64_t skipped = 0;

  void add(const DropCounts& other) {
    for (int i = 0; i < kVerdicts; ++i) kept_out[i] += other.kept_out[i];
    skipped += other.skipped;
  }
};

// A need in float32, no more than the score that it comes from.
float rounded_down(double score) noexcept;

// A pool does not depend on the order in which pairs are met, as long as each pair that scores at
// least a target's need() at that moment is met, once, or more often after expect_repeats().
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
  float need(std::int64_t target) const noexcept override {
    return need_[static_cast<std::size_t>(target)].load(std::memory_order_relaxed);
  }
  // Only where nothing but the score and the near duplicates decides what is kept.
  bool takes_floors() const noexcept override {
    return groups_ == nullptr && !corpus_.rules().use_margin;
  }
  void raise_floor(std::int64_t target, float floor) noexcept override;
  // Scores target `target`'s row against `row`, which is target `mirror` unless that is -1.
  void meet(std::int64_t target, std::int64_t row, std::int64_t mirror, Scorer& scorer) override;
  // A pair that was scored already, of target `target` alone.
  void consider(std::int64_t target, std::int64_t row, double score, Verdict verdict) {
    if (score >= static_cast<double>(need(target))) offer(target, row, score, verdict);
  }
  // From now on pairs may be met that were met before.
  void expect_repeats() noexcept { repeats_ = true; }
  // What a pool holds now, best first.
  std::vector<Scored> sorted(std::int64_t target) const;
  // Writes a finished pool to row `row` of `band` and counts what was kept out of it.
  void finish(std::int64_t target, HardPairBand& band, std::int64_t row, DropCounts& counts);
  // What the first `count` targets hold, which must not change until it is saved; and back, into
  // empty pools. How many they are.
  void save(std::int64_t count, CheckpointState& state) const;
  std::int64_t restore(const SavedState& saved);

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
  std::vector<std::uint32_t> held_;        // [targets], under the target's lock
  std::vector<std::atomic<float>> need_;   // [targets]
  std::vector<std::atomic<bool>> locked_;  // [targets]
  std::vector<std::unique_ptr<std::vector<KeptOut>>> kept_out_;  // [targets], under the lock
};

}  // namespace helip::mining
