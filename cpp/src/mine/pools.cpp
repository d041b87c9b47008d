#include "pools.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

namespace helip::mining {
namespace {

constexpr std::int64_t kGuard = 64;  // room beyond 2k, so that small pools are not pruned so often

std::int64_t capacity_for(std::int64_t k, std::int64_t candidates) {
  return std::max<std::int64_t>(1, std::min(2 * k + kGuard, candidates));
}

// Spins: a buffer is held for tens of nanoseconds, rarely for a pruning.
class Lock {
 public:
  explicit Lock(std::atomic<bool>& flag) : flag_(flag) {
    int tries = 0;
    while (flag_.exchange(true, std::memory_order_acquire)) {
      if (++tries > 1000) std::this_thread::yield();
    }
  }
  ~Lock() { flag_.store(false, std::memory_order_release); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  std::atomic<bool>& flag_;
};

bool scores_higher(const Candidate& a, const Candidate& b) { return a.score > b.score; }

}  // namespace

Pools::Pools(const Corpus& corpus, const RowList& targets, std::int64_t k, std::int64_t candidates,
             double error)
    : targets_(targets),
      k_(k),
      capacity_(capacity_for(k, candidates)),
      error_(error),
      buffers_(new Candidate[static_cast<std::size_t>(targets.size * capacity_)]),
      threshold_(static_cast<std::size_t>(targets.size)),
      count_(static_cast<std::size_t>(targets.size)),
      locked_(static_cast<std::size_t>(targets.size)) {
  for (std::int64_t target = 0; target < targets.size; ++target) {
    // Nothing scores above 0 with a zero row; without this, everything would wait for float64.
    const float start = corpus.is_zero(targets[target]) ? std::numeric_limits<float>::infinity()
                                                        : -std::numeric_limits<float>::infinity();
    threshold_[static_cast<std::size_t>(target)] = start;
    raise(target, corpus.rules().min_score - error);
  }
}

std::int64_t Pools::bytes_per_target(std::int64_t k, std::int64_t candidates) noexcept {
  return capacity_for(k, candidates) * static_cast<std::int64_t>(sizeof(Candidate)) + 9;
}

void Pools::raise(std::int64_t target, double threshold) noexcept {
  auto rounded = static_cast<float>(threshold);
  if (static_cast<double>(rounded) > threshold) {
    rounded = std::nextafter(rounded, -std::numeric_limits<float>::infinity());
  }
  std::atomic<float>& current = threshold_[static_cast<std::size_t>(target)];
  if (rounded > current.load(std::memory_order_relaxed)) {
    current.store(rounded, std::memory_order_relaxed);
  }
}

void Pools::offer(std::int64_t target, const Candidate* candidates, std::int64_t count,
                  Scorer& scorer) {
  const auto slot = static_cast<std::size_t>(target);
  const Lock lock(locked_[slot]);
  std::int64_t held = count_[slot];
  for (std::int64_t i = 0; i < count; ++i) {
    if (candidates[i].score < threshold(target)) continue;
    if (held == capacity_) {
      held = prune(target, held);
      if (held > capacity_ - kGuard / 2) held = cut_exactly(target, held, scorer);
      if (candidates[i].score < threshold(target)) continue;
    }
    buffer(target)[held++] = candidates[i];
  }
  count_[slot] = static_cast<std::uint32_t>(held);
}

std::int64_t Pools::prune(std::int64_t target, std::int64_t count) {
  if (count <= k_) return count;
  Candidate* entries = buffer(target);
  std::nth_element(entries, entries + (k_ - 1), entries + count, scores_higher);
  // k scores are at least this, so they are positive and exceed min_score unless it is below the
  // start threshold, where raise() does nothing.
  raise(target, static_cast<double>(entries[k_ - 1].score) - 2.0 * error_);
  const float limit = threshold(target);
  return std::remove_if(entries, entries + count,
                        [limit](const Candidate& entry) { return entry.score < limit; }) -
         entries;
}

std::vector<Scored> Pools::exact(std::int64_t target, std::int64_t count, Scorer& scorer) const {
  const Candidate* entries = buffer(target);
  std::vector<Scored> scored;
  scored.reserve(static_cast<std::size_t>(count));
  scorer.set_target(targets_[target]);
  for (std::int64_t i = 0; i < count; ++i) {
    if (i + 1 < count) scorer.prefetch(entries[i + 1].id);
    if (const auto score = scorer.score(entries[i].id)) scored.push_back({*score, entries[i].id});
  }
  return scored;
}

std::int64_t Pools::cut_exactly(std::int64_t target, std::int64_t count, Scorer& scorer) {
  std::vector<Scored> kept = exact(target, count, scorer);
  std::sort(kept.begin(), kept.end(), ranks_before);
  if (static_cast<std::int64_t>(kept.size()) > k_) kept.resize(static_cast<std::size_t>(k_));
  Candidate* entries = buffer(target);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    entries[i] = {static_cast<float>(kept[i].score), static_cast<std::uint32_t>(kept[i].id)};
  }
  const auto size = static_cast<std::int64_t>(kept.size());
  if (size == k_) raise(target, kept.back().score - error_);
  return size;
}

void Pools::finish(std::int64_t target, Scorer& scorer, HardPairBand& band, std::int64_t row) {
  const auto slot = static_cast<std::size_t>(target);
  const std::int64_t held = prune(target, count_[slot]);
  std::vector<Scored> pool = exact(target, held, scorer);
  write_pool(pool, band, row);
}

}  // namespace helip::mining
