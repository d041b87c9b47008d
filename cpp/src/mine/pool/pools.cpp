#include "mine/pool/pools.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

namespace helip::mining {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kPairBytes = sizeof(double) + sizeof(std::uint32_t);

ScratchMemory scratch(std::int64_t bytes, const std::filesystem::path& folder) {
  return folder.empty() ? ScratchMemory(bytes) : ScratchMemory(bytes, folder);
}

}  // namespace

// Spins: a pool is held for some hundred nanoseconds.
class Pools::Lock {
 public:
  Lock(Pools& pools, std::int64_t target) : flag_(pools.locked_[static_cast<std::size_t>(target)]) {
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

Pools::Pools(const Corpus& corpus, std::vector<std::uint32_t> rows, std::int64_t k,
             std::int64_t skip, const std::uint32_t* groups, const std::filesystem::path& folder)
    : corpus_(corpus),
      rows_(std::move(rows)),
      k_(k),
      skip_(skip),
      capacity_(std::max<std::int64_t>(1, std::min(k + skip, corpus.size()))),
      groups_(groups),
      memory_(scratch(size() * capacity_ * kPairBytes, folder)),
      scores_(reinterpret_cast<double*>(memory_.data())),
      ids_(reinterpret_cast<std::uint32_t*>(scores_ + size() * capacity_)),
      sizes_(rows_.size()),
      thresholds_(rows_.size()),
      locked_(rows_.size()),
      kept_out_(rows_.size()) {
  for (std::size_t target = 0; target < rows_.size(); ++target) {
    // A zero row scores 0 with every other.
    thresholds_[target] =
        corpus.is_zero(rows_[target]) ? kInfinity : rounded_down(corpus.rules().min_score);
  }
}

std::int64_t Pools::bytes_per_target(std::int64_t k, std::int64_t skip) noexcept {
  return (k + skip) * kPairBytes + 24;
}

void Pools::raise_threshold(std::int64_t target, float threshold) noexcept {
  std::atomic<float>& own = thresholds_[static_cast<std::size_t>(target)];
  float current = own.load(std::memory_order_relaxed);
  while (current < threshold &&
         !own.compare_exchange_weak(current, threshold, std::memory_order_relaxed)) {
  }
}

void Pools::score_pair(std::int64_t target, std::int64_t row, std::int64_t mirror, Scorer& scorer) {
  const std::int64_t own = rows_[static_cast<std::size_t>(target)];
  const Evaluation evaluated = scorer.evaluate(own, row);
  if (evaluated.score <= corpus_.rules().min_score) return;
  if (evaluated.score >= static_cast<double>(threshold(target))) {
    const bool of_query = corpus_.queries() > 0;
    offer(target, row, evaluated.score,
          of_query ? scorer.verdict_of(own, row, evaluated) : evaluated.target);
  }
  if (mirror >= 0 && evaluated.score >= static_cast<double>(threshold(mirror))) {
    offer(mirror, own, evaluated.score, evaluated.candidate);
  }
}

void Pools::offer(std::int64_t target, std::int64_t row, double score, Verdict verdict) {
  const Scored pair{score, row};
  const Lock lock(*this, target);
  const std::int64_t held = sizes_[static_cast<std::size_t>(target)];
  const bool full = held == capacity_;
  if (full && !ranks_before(pair, at(target, 0))) return;
  if (repeats_) {
    const std::uint32_t* ids = ids_ + target * capacity_;
    if (std::find(ids, ids + held, static_cast<std::uint32_t>(row)) != ids + held) return;
  }
  if (verdict != Verdict::kept) return keep_out(target, {pair, verdict});

  if (groups_ != nullptr) {
    for (std::int64_t place = 0; place < held; ++place) {
      const Scored rival = at(target, place);
      if (groups_[rival.id] != groups_[row]) continue;
      if (ranks_before(rival, pair)) return keep_out(target, {pair, Verdict::collapsed});
      keep_out(target, {rival, Verdict::collapsed});
      sift_down(target, place, pair);
      return raise(target);
    }
  }
  if (full) {
    sift_down(target, 0, pair);
  } else {
    sizes_[static_cast<std::size_t>(target)] = static_cast<std::uint32_t>(held + 1);
    sift_up(target, held, pair);
  }
  raise(target);
}

void Pools::keep_out(std::int64_t target, const KeptOut& entry) {
  auto& entries = kept_out_[static_cast<std::size_t>(target)];
  if (!entries) entries = std::make_unique<std::vector<KeptOut>>();
  entries->push_back(entry);
  // More than the capacity cannot be among the best; cut seldom, since each cut sorts.
  if (static_cast<std::int64_t>(entries->size()) < 2 * capacity_ + 16) return;
  sort_kept_out(*entries);
  entries->resize(std::min(entries->size(), static_cast<std::size_t>(capacity_)));
}

void Pools::sort_kept_out(std::vector<KeptOut>& entries) {
  std::sort(entries.begin(), entries.end(),
            [](const KeptOut& a, const KeptOut& b) { return ranks_before(a.pair, b.pair); });
  const auto same = [](const KeptOut& a, const KeptOut& b) { return a.pair.id == b.pair.id; };
  entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
}

Scored Pools::at(std::int64_t target, std::int64_t place) const {
  const auto i = static_cast<std::size_t>(target * capacity_ + place);
  return {scores_[i], ids_[i]};
}

void Pools::set(std::int64_t target, std::int64_t place, const Scored& pair) {
  const auto i = static_cast<std::size_t>(target * capacity_ + place);
  scores_[i] = pair.score;
  ids_[i] = static_cast<std::uint32_t>(pair.id);
}

void Pools::sift_up(std::int64_t target, std::int64_t place, const Scored& pair) {
  while (place > 0) {
    const std::int64_t parent = (place - 1) / 2;
    const Scored above = at(target, parent);
    if (!ranks_before(above, pair)) break;
    set(target, place, above);
    place = parent;
  }
  set(target, place, pair);
}

void Pools::sift_down(std::int64_t target, std::int64_t place, const Scored& pair) {
  const std::int64_t held = sizes_[static_cast<std::size_t>(target)];
  for (;;) {
    std::int64_t child = 2 * place + 1;
    if (child >= held) break;
    Scored below = at(target, child);
    if (child + 1 < held) {
      const Scored right = at(target, child + 1);
      if (ranks_before(below, right)) {
        ++child;
        below = right;
      }
    }
    if (!ranks_before(pair, below)) break;
    set(target, place, below);
    place = child;
  }
  set(target, place, pair);
}

void Pools::raise(std::int64_t target) {
  if (sizes_[static_cast<std::size_t>(target)] < capacity_) return;
  raise_threshold(target, rounded_down(at(target, 0).score));
}

std::vector<Scored> Pools::sorted(std::int64_t target) const {
  std::vector<Scored> pool;
  const std::int64_t held = sizes_[static_cast<std::size_t>(target)];
  for (std::int64_t place = 0; place < held; ++place) pool.push_back(at(target, place));
  std::sort(pool.begin(), pool.end(), ranks_before);
  return pool;
}

DroppedPairs DropCounts::take() {
  std::sort(pairs.begin(), pairs.end(), [](const DroppedPair& a, const DroppedPair& b) {
    return a.target != b.target ? a.target < b.target : a.id < b.id;
  });
  return std::move(pairs);
}

void Pools::list_kept_out(std::int64_t target, DropCounts& counts) const {
  const auto slot = static_cast<std::size_t>(target);
  if (!counts.listed || !kept_out_[slot]) return;
  std::vector<KeptOut> dropped = *kept_out_[slot];
  sort_kept_out(dropped);
  for (const KeptOut& entry : dropped) {
    counts.pairs.push_back({rows_[slot], entry.pair.id - corpus_.queries(), entry.pair.score,
                            static_cast<DropRule>(entry.verdict)});
  }
}

void Pools::finish(std::int64_t target, HardPairBand& band, std::int64_t row, DropCounts& counts) {
  const auto slot = static_cast<std::size_t>(target);
  const std::vector<Scored> pool = sorted(target);
  const auto held = static_cast<std::int64_t>(pool.size());
  const std::int64_t kept = std::clamp<std::int64_t>(held - skip_, 0, k_);
  counts.skipped += std::min(skip_, held);
  for (std::int64_t rank = 0; rank < kept; ++rank) {
    const auto to = static_cast<std::size_t>(row * band.k + rank);
    const Scored& pair = pool[static_cast<std::size_t>(skip_ + rank)];
    band.ids[to] = pair.id - corpus_.queries();
    band.scores[to] = static_cast<float>(pair.score);
  }
  band.counts[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(kept);

  if (!kept_out_[slot]) return;
  std::vector<KeptOut>& dropped = *kept_out_[slot];
  sort_kept_out(dropped);
  std::int64_t before = 0;  // pairs of the pool that rank before the dropped one
  for (std::size_t i = 0; i < dropped.size(); ++i) {
    while (before < held && ranks_before(pool[static_cast<std::size_t>(before)], dropped[i].pair)) {
      ++before;
    }
    if (before + static_cast<std::int64_t>(i) >= capacity_) break;
    ++counts.kept_out[static_cast<std::size_t>(dropped[i].verdict)];
    if (!counts.listed) continue;
    counts.pairs.push_back({rows_[slot], dropped[i].pair.id - corpus_.queries(),
                            dropped[i].pair.score, static_cast<DropRule>(dropped[i].verdict)});
  }
}

PoolColumns Pools::columns(std::int64_t count) {
  PoolColumns columns;
  const auto pairs = static_cast<std::size_t>(count * capacity_);
  columns.capacity = capacity_;
  columns.scores = {scores_, pairs};
  columns.ids = {ids_, pairs};
  columns.sizes.assign(sizes_.begin(), sizes_.begin() + count);
  for (std::int64_t target = 0; target < count; ++target) {
    columns.thresholds.push_back(threshold(target));
    const auto& entries = kept_out_[static_cast<std::size_t>(target)];
    columns.kept_out_sizes.push_back(entries ? static_cast<std::uint32_t>(entries->size()) : 0);
    if (!entries) continue;
    for (const KeptOut& entry : *entries) {
      columns.kept_out_ids.push_back(static_cast<std::uint32_t>(entry.pair.id));
      columns.kept_out_scores.push_back(entry.pair.score);
      columns.kept_out_verdicts.push_back(static_cast<std::uint8_t>(entry.verdict));
    }
  }
  return columns;
}

void Pools::restore(const PoolColumns& columns) {
  std::size_t next = 0;
  for (std::size_t target = 0; target < columns.sizes.size(); ++target) {
    sizes_[target] = columns.sizes[target];
    thresholds_[target] = columns.thresholds[target];
    if (columns.kept_out_sizes[target] == 0) continue;
    kept_out_[target] = std::make_unique<std::vector<KeptOut>>();
    for (std::uint32_t i = 0; i < columns.kept_out_sizes[target]; ++i, ++next) {
      kept_out_[target]->push_back({{columns.kept_out_scores[next], columns.kept_out_ids[next]},
                                    static_cast<Verdict>(columns.kept_out_verdicts[next])});
    }
  }
}

}  // namespace helip::mining
