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

float rounded_down(double score) noexcept {
  const auto rounded = static_cast<float>(score);
  return static_cast<double>(rounded) > score ? std::nextafter(rounded, -kInfinity) : rounded;
}

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
      held_(rows_.size()),
      need_(rows_.size()),
      locked_(rows_.size()),
      kept_out_(rows_.size()) {
  for (std::size_t target = 0; target < rows_.size(); ++target) {
    // A zero row scores 0 with every other.
    need_[target] =
        corpus.is_zero(rows_[target]) ? kInfinity : rounded_down(corpus.rules().min_score);
  }
}

std::int64_t Pools::bytes_per_target(std::int64_t k, std::int64_t skip) noexcept {
  return (k + skip) * kPairBytes + 24;
}

void Pools::raise_floor(std::int64_t target, float floor) noexcept {
  std::atomic<float>& need = need_[static_cast<std::size_t>(target)];
  float current = need.load(std::memory_order_relaxed);
  while (current < floor &&
         !need.compare_exchange_weak(current, floor, std::memory_order_relaxed)) {
  }
}

void Pools::meet(std::int64_t target, std::int64_t row, std::int64_t mirror, Scorer& scorer) {
  const std::int64_t own = rows_[static_cast<std::size_t>(target)];
  const Judged judged = scorer.judge(own, row);
  if (judged.score <= corpus_.rules().min_score) return;
  if (judged.score >= static_cast<double>(need(target))) {
    offer(target, row, judged.score, judged.target);
  }
  if (mirror >= 0 && judged.score >= static_cast<double>(need(mirror))) {
    offer(mirror, own, judged.score, judged.candidate);
  }
}

void Pools::offer(std::int64_t target, std::int64_t row, double score, Verdict verdict) {
  const Scored pair{score, row};
  const Lock lock(*this, target);
  const std::int64_t held = held_[static_cast<std::size_t>(target)];
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
    held_[static_cast<std::size_t>(target)] = static_cast<std::uint32_t>(held + 1);
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
  const std::int64_t held = held_[static_cast<std::size_t>(target)];
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
  if (held_[static_cast<std::size_t>(target)] < capacity_) return;
  raise_floor(target, rounded_down(at(target, 0).score));
}

std::vector<Scored> Pools::sorted(std::int64_t target) const {
  std::vector<Scored> pool;
  const std::int64_t held = held_[static_cast<std::size_t>(target)];
  for (std::int64_t place = 0; place < held; ++place) pool.push_back(at(target, place));
  std::sort(pool.begin(), pool.end(), ranks_before);
  return pool;
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
    band.ids[to] = pair.id;
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
  }
}

void Pools::save(std::int64_t count, CheckpointState& state) const {
  state.show("pools.scores", scores_, count * capacity_);
  state.show("pools.ids", ids_, count * capacity_);
  state.show("pools.held", held_.data(), count);
  std::vector<float> needs;
  std::vector<std::uint32_t> numbers, ids;  // of what was kept out, target by target
  std::vector<double> scores;
  std::vector<std::uint8_t> verdicts;
  for (std::int64_t target = 0; target < count; ++target) {
    needs.push_back(need(target));
    const auto& entries = kept_out_[static_cast<std::size_t>(target)];
    numbers.push_back(entries ? static_cast<std::uint32_t>(entries->size()) : 0);
    if (!entries) continue;
    for (const KeptOut& entry : *entries) {
      ids.push_back(static_cast<std::uint32_t>(entry.pair.id));
      scores.push_back(entry.pair.score);
      verdicts.push_back(static_cast<std::uint8_t>(entry.verdict));
    }
  }
  state.keep("pools.needs", std::move(needs));
  state.keep("kept_out.numbers", std::move(numbers));
  state.keep("kept_out.ids", std::move(ids));
  state.keep("kept_out.scores", std::move(scores));
  state.keep("kept_out.verdicts", std::move(verdicts));
}

std::int64_t Pools::restore(const SavedState& saved) {
  const auto held = saved.read<std::uint32_t>("pools.held");
  const auto count = static_cast<std::int64_t>(held.size());
  saved.require(count <= size(), "it has more pools than there are rows");
  saved.read("pools.scores", scores_, count * capacity_);
  saved.read("pools.ids", ids_, count * capacity_);
  std::vector<float> needs(held.size());
  saved.read("pools.needs", needs.data(), count);
  std::vector<std::uint32_t> numbers(held.size());
  saved.read("kept_out.numbers", numbers.data(), count);
  const auto ids = saved.read<std::uint32_t>("kept_out.ids");
  const auto scores = saved.read<double>("kept_out.scores");
  const auto verdicts = saved.read<std::uint8_t>("kept_out.verdicts");
  const auto known = [&](std::uint32_t id) {
    saved.require(id < corpus_.size(), "it names a row that there is not");
    return static_cast<std::int64_t>(id);
  };
  std::size_t next = 0;
  for (std::size_t target = 0; target < held.size(); ++target) {
    saved.require(held[target] <= capacity_, "a pool is larger than it can be");
    held_[target] = held[target];
    need_[target] = needs[target];
    const std::uint32_t* own = ids_ + static_cast<std::int64_t>(target) * capacity_;
    for (std::uint32_t place = 0; place < held[target]; ++place) known(own[place]);
    if (numbers[target] == 0) continue;
    saved.require(numbers[target] <= ids.size() - next && ids.size() == scores.size() &&
                      ids.size() == verdicts.size(),
                  "what was kept out of the pools is not whole");
    kept_out_[target] = std::make_unique<std::vector<KeptOut>>();
    for (std::uint32_t i = 0; i < numbers[target]; ++i, ++next) {
      saved.require(verdicts[next] < kVerdicts, "a verdict is none");
      kept_out_[target]->push_back(
          {{scores[next], known(ids[next])}, static_cast<Verdict>(verdicts[next])});
    }
  }
  return count;
}

}  // namespace helip::mining
