#include "mine/bound/sweep.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>

#include "mine/bound/sweep_worker.h"

namespace helip::mining {
namespace {

// Column blocks that a row block is held against one after the other.
constexpr std::int64_t kStrip = 8;
constexpr std::int64_t kLeastSeeds = 1024;  // rows that seeds are chosen from
constexpr std::int64_t kSeedRows = 96;      // most targets that share them
constexpr double kProbedShare = 0.12;       // of the targets that look around for themselves
constexpr std::int64_t kProbedRows = 2048;  // that they look at, and more for a large k
constexpr std::int64_t kProbedAtOnce = 65536;

std::int64_t blocks_of(const std::vector<SweepEntry>& entries) {
  return (static_cast<std::int64_t>(entries.size()) + kSweepBlock - 1) / kSweepBlock;
}

SweepEntries block_of(const std::vector<SweepEntry>& entries, std::int64_t block) {
  const std::int64_t first = block * kSweepBlock;
  const auto size = std::min(kSweepBlock, static_cast<std::int64_t>(entries.size()) - first);
  return SweepEntries(entries).subspan(static_cast<std::size_t>(first),
                                       static_cast<std::size_t>(size));
}

SweepEntry target_of(const SweepJob& job, std::int64_t t) {
  const auto at = static_cast<std::size_t>(t);
  return {job.targets[at], job.numbers.empty() ? static_cast<std::int32_t>(t) : job.numbers[at]};
}

SweepEntry other_of(const SweepJob& job, std::size_t i) {
  return {job.others[i], job.other_numbers.empty() ? -1 : job.other_numbers[i]};
}

// A list against another or against itself, as tasks of one row block and a strip of column blocks.
// Blocks that lie close together in the order come first: there the thresholds rise.
class Tasks {
 public:
  struct Task {
    std::int64_t row_block;
    std::int64_t begin, end;  // column blocks
  };

  Tasks(const std::vector<SweepEntry>& rows, const std::vector<SweepEntry>& columns,
        Codes::Filter filter)
      : rows(rows), columns(columns), filter(filter), mutual_(&rows == &columns) {}

  const std::vector<SweepEntry>& rows;
  const std::vector<SweepEntry>& columns;
  const Codes::Filter filter;

  // False when there are no more.
  bool next(Task& task) {
    const std::int64_t row_blocks = blocks_of(rows);
    const std::int64_t column_blocks = blocks_of(columns);
    // Strips to the right of where the row block lies, the closest first, and to the left of it;
    // a list against itself is done with the right ones.
    while (row_blocks > 0 && apart_ * kStrip < column_blocks) {
      const std::int64_t middle = mutual_ ? row_ : middle_of(row_);
      const std::int64_t first = left_ ? middle - (apart_ + 1) * kStrip : middle + apart_ * kStrip;
      task = {row_, std::max<std::int64_t>(first, 0),
              std::min(first + kStrip, left_ ? middle : column_blocks)};
      left_ = !mutual_ && !left_;
      if (!left_ && ++row_ == row_blocks) {
        row_ = 0;
        ++apart_;
      }
      if (task.begin < task.end) return true;
    }
    return false;
  }

 private:
  // The column block where a row block's places lie.
  std::int64_t middle_of(std::int64_t row_block) const {
    const SweepEntries block = block_of(rows, row_block);
    const auto found = std::lower_bound(
        columns.begin(), columns.end(), block[block.size() / 2].place,
        [](const SweepEntry& entry, std::uint32_t place) { return entry.place < place; });
    return std::min((found - columns.begin()) / kSweepBlock, blocks_of(columns) - 1);
  }

  const bool mutual_;
  std::int64_t apart_ = 0;
  std::int64_t row_ = 0;
  bool left_ = false;
};

}  // namespace

void SweepCounts::add(const SweepCounts& more) {
  pairs += more.pairs;
  first += more.first;
  second += more.second;
  scored += more.scored;
}

Sweep::Sweep(const Corpus& corpus, const FilterPlan& plan, const Codes& codes,
             const RowOrder& order)
    : corpus_(corpus), plan_(plan), codes_(codes), order_(order) {
  if (!corpus.has_positives()) return;
  places_.assign(static_cast<std::size_t>(corpus.size()), kNoPlace);
  for (std::uint32_t place = 0; place < order.rows.size(); ++place)
    places_[order.rows[place]] = place;
}

std::int64_t Sweep::work(const SweepJob& job) noexcept {
  const auto targets = static_cast<std::int64_t>(job.targets.size());
  const auto others = static_cast<std::int64_t>(job.others.size());
  return targets * others + (job.mutual ? targets * (targets + 1) / 2 : 0);
}

std::int64_t Sweep::bytes_per_thread(const Codes& codes) noexcept {
  return SweepWorker::bytes(codes);
}

SweepCounts Sweep::run(const SweepJob& job, SweepSink& sink, Team& team) const {
  // Targets in two tiers by the thresholds that they have now.
  const auto count = static_cast<std::int64_t>(job.targets.size());
  std::vector<float> thresholds;
  for (std::int64_t t = 0; t < count; ++t)
    thresholds.push_back(sink.threshold(target_of(job, t).target));
  for (const std::int32_t number : job.other_numbers) {
    if (number >= 0) thresholds.push_back(sink.threshold(number));
  }
  const bool has_tiers = codes_.depth(Codes::kHigh) > 0 && !thresholds.empty();
  float split = 0.0F;
  if (has_tiers) {
    std::vector<float> sorted = thresholds;
    const auto place = static_cast<std::int64_t>((1.0 - plan_.high_share) *
                                                 static_cast<double>(thresholds.size()));
    std::nth_element(sorted.begin(), sorted.begin() + place, sorted.end());
    split = sorted[static_cast<std::size_t>(place)];
  }
  std::vector<SweepEntry> high, low, others, high_others, low_others;
  std::size_t seen = 0;
  const auto is_high = [&] { return thresholds[seen++] >= split && has_tiers; };
  for (std::int64_t t = 0; t < count; ++t) {
    (is_high() ? high : low).push_back(target_of(job, t));
  }
  for (std::size_t i = 0; i < job.others.size(); ++i) {
    const SweepEntry entry = other_of(job, i);
    if (entry.target < 0) {
      others.push_back(entry);
    } else {
      (is_high() ? high_others : low_others).push_back(entry);
    }
  }

  std::vector<Tasks> tasks;
  if (job.mutual) {
    tasks.emplace_back(high, high, Codes::kHigh);
    tasks.emplace_back(low, low, Codes::kLow);
    tasks.emplace_back(low, high, Codes::kLow);
  }
  tasks.emplace_back(high, others, Codes::kHigh);
  tasks.emplace_back(low, others, Codes::kLow);
  tasks.emplace_back(high, high_others, Codes::kHigh);
  tasks.emplace_back(high, low_others, Codes::kLow);
  tasks.emplace_back(low, high_others, Codes::kLow);
  tasks.emplace_back(low, low_others, Codes::kLow);

  SweepCounts counts;
  std::mutex mutex;
  std::size_t current = 0;
  team.run([&](int) {
    SweepWorker worker(corpus_, codes_, order_, sink);
    Tasks::Task task{};
    while (!team.stopped()) {
      const Tasks* from = nullptr;
      {
        const std::lock_guard lock(mutex);
        while (current < tasks.size() && !tasks[current].next(task)) ++current;
        if (current == tasks.size()) break;
        from = &tasks[current];
      }
      for (std::int64_t c = task.begin; c < task.end && !team.stopped(); ++c) {
        const std::int64_t before = worker.counts().pairs;
        worker.run(block_of(from->rows, task.row_block), block_of(from->columns, c), from->filter);
        team.add_work(worker.counts().pairs - before);
      }
    }
    const std::lock_guard lock(mutex);
    counts.add(worker.counts());
  });
  return counts;
}

void Sweep::seed(const SweepJob& job, std::int64_t kept, SweepSink& sink, Team& team) const {
  if (order_.near.empty() || !sink.takes_thresholds()) return;
  // The closest clusters are the same for the rows of a cluster: quick, and good enough for most.
  seed_clusters(job, kept, sink, team);
  // The lowest thresholds let most pairs pass: those targets look around for themselves.
  const auto count = static_cast<std::int64_t>(job.targets.size());
  std::vector<float> thresholds;
  for (std::int64_t t = 0; t < count; ++t)
    thresholds.push_back(sink.threshold(target_of(job, t).target));
  std::vector<float> sorted = thresholds;
  const auto middle =
      sorted.begin() + static_cast<std::ptrdiff_t>(kProbedShare * static_cast<double>(count));
  std::nth_element(sorted.begin(), middle, sorted.end());
  std::vector<SweepEntry> probed;
  for (std::int64_t t = 0; t < count; ++t) {
    if (thresholds[static_cast<std::size_t>(t)] < *middle) {
      probed.push_back(target_of(job, t));
    }
  }
  probe_clusters(probed, kept, sink, team);
}

void Sweep::add_cluster(std::uint32_t cluster, std::vector<SweepEntry>& candidates) const {
  for (std::int64_t place = candidates_begin(order_, corpus_, cluster);
       place < order_.begins[cluster + 1]; ++place) {
    candidates.push_back({static_cast<std::uint32_t>(place), -1});
  }
}

void Sweep::seed_clusters(const SweepJob& job, std::int64_t kept, SweepSink& sink,
                          Team& team) const {
  const auto clusters = static_cast<std::int64_t>(order_.near.size());
  const auto target_at = [&](std::int64_t place) {
    return std::lower_bound(job.targets.begin(), job.targets.end(), place) - job.targets.begin();
  };
  std::atomic<std::int64_t> next{0};
  team.run([&](int) {
    SweepWorker worker(corpus_, codes_, order_, sink, &places_);
    std::vector<SweepEntry> rows, candidates;
    while (!team.stopped()) {
      const std::int64_t cluster = next.fetch_add(1);
      if (cluster >= clusters) break;
      const std::int64_t end = target_at(order_.begins[static_cast<std::size_t>(cluster) + 1]);
      std::int64_t begin = target_at(order_.begins[static_cast<std::size_t>(cluster)]);
      if (begin == end) continue;
      candidates.clear();
      const std::int64_t near =
          seeding_clusters(order_, corpus_, static_cast<std::uint32_t>(cluster), kept);
      for (std::int64_t i = 0; i < near; ++i) {
        add_cluster(order_.near[static_cast<std::size_t>(cluster)][static_cast<std::size_t>(i)],
                    candidates);
      }
      for (; begin < end; begin += kSeedRows) {
        rows.clear();
        for (std::int64_t t = begin; t < std::min(end, begin + kSeedRows); ++t) {
          rows.push_back(target_of(job, t));
        }
        worker.seed(rows, candidates, kept);
      }
    }
  });
}

void Sweep::probe_clusters(const std::vector<SweepEntry>& probed, std::int64_t kept,
                           SweepSink& sink, Team& team) const {
  const auto clusters = static_cast<std::int64_t>(order_.near.size());
  const std::int64_t candidates =
      std::max<std::int64_t>(1, corpus_.queries() > 0 ? corpus_.candidate_rows() : codes_.size());
  const std::int64_t each =
      std::clamp<std::int64_t>((kProbedRows + 4 * kept) * clusters / candidates, 1, clusters);
  std::vector<std::uint32_t> rows;
  for (std::size_t first = 0; first < probed.size(); first += kProbedAtOnce) {
    const auto count =
        static_cast<std::int64_t>(std::min<std::size_t>(kProbedAtOnce, probed.size() - first));
    rows.clear();
    for (std::int64_t i = 0; i < count; ++i) {
      rows.push_back(order_.rows[probed[first + static_cast<std::size_t>(i)].place]);
    }
    const std::vector<std::uint32_t> closest =
        closest_clusters(corpus_, plan_, order_, rows, each, team);
    std::atomic<std::int64_t> next{0};
    team.run([&](int) {
      SweepWorker worker(corpus_, codes_, order_, sink, &places_);
      std::vector<SweepEntry> candidates;
      while (!team.stopped()) {
        const std::int64_t i = next.fetch_add(1);
        if (i >= count) break;
        candidates.clear();
        for (std::int64_t c = 0; c < each; ++c) {
          add_cluster(closest[static_cast<std::size_t>(i * each + c)], candidates);
        }
        worker.probe(probed[first + static_cast<std::size_t>(i)], candidates, kept);
      }
    });
  }
}

SweepCounts Sweep::run_clusters(const ClusterPartners& partners, std::int64_t first,
                                std::int64_t last, SweepSink& sink, Team& team) const {
  const bool of_queries = corpus_.queries() > 0;
  std::vector<SweepEntry> entries;
  std::int32_t targets = 0;
  for (std::uint32_t place = 0; place < order_.rows.size(); ++place) {
    const bool is_target = !of_queries || !corpus_.is_candidate(order_.rows[place]);
    entries.push_back({place, is_target ? targets++ : -1});
  }
  const auto between = [&](std::int64_t begin, std::int64_t end) {
    return SweepEntries(entries).subspan(static_cast<std::size_t>(begin),
                                         static_cast<std::size_t>(end - begin));
  };
  const auto targets_of = [&](std::uint32_t cluster) {
    return between(order_.begins[cluster], of_queries ? candidates_begin(order_, corpus_, cluster)
                                                      : order_.begins[cluster + 1]);
  };
  const auto candidates_of = [&](std::uint32_t cluster) {
    return between(candidates_begin(order_, corpus_, cluster), order_.begins[cluster + 1]);
  };
  const auto blocks = [](SweepEntries all, const auto& body) {
    constexpr auto kBlock = static_cast<std::size_t>(kSweepBlock);
    for (std::size_t at = 0; at < all.size(); at += kBlock) {
      body(all.subspan(at, std::min(kBlock, all.size() - at)), at);
    }
  };
  SweepCounts counts;
  std::mutex mutex;
  team.for_blocks(last - first, 1, [&](std::int64_t c, std::int64_t, int) {
    const auto cluster = static_cast<std::uint32_t>(first + c);
    SweepWorker worker(corpus_, codes_, order_, sink);
    // Partners together, so that small clusters make full blocks.
    std::vector<SweepEntry> others;
    bool own = false;
    for (const std::uint32_t other : partners[cluster]) {
      if (other == cluster && !of_queries) {
        own = true;
        continue;
      }
      const SweepEntries more = candidates_of(other);
      others.insert(others.end(), more.begin(), more.end());
    }
    const auto run = [&](SweepEntries rows, SweepEntries columns) {
      if (team.stopped()) return;
      const std::int64_t before = worker.counts().pairs;
      worker.run(rows, columns, Codes::kLow);
      team.add_work(worker.counts().pairs - before);
    };
    blocks(targets_of(cluster), [&](SweepEntries rows, std::size_t at) {
      if (own) {
        blocks(targets_of(cluster).subspan(at),
               [&](SweepEntries columns, std::size_t) { run(rows, columns); });
      }
      blocks(others, [&](SweepEntries columns, std::size_t) { run(rows, columns); });
    });
    const std::lock_guard lock(mutex);
    counts.add(worker.counts());
  });
  return counts;
}

void Sweep::seed_by_clusters(std::int64_t kept, SweepSink& sink, Team& team) const {
  if (order_.near.empty() || !sink.takes_thresholds()) return;
  SweepJob job;
  for (std::uint32_t place = 0; place < order_.rows.size(); ++place) {
    if (corpus_.queries() > 0 && corpus_.is_candidate(order_.rows[place])) continue;
    job.targets.push_back(place);
  }
  seed_clusters(job, kept, sink, team);
}

std::int64_t candidates_begin(const RowOrder& order, const Corpus& corpus,
                              std::uint32_t cluster) noexcept {
  if (corpus.queries() == 0) return order.begins[cluster];
  // Rows of a cluster ascend.
  const auto rows = order.rows.begin();
  return std::lower_bound(rows + order.begins[cluster], rows + order.begins[cluster + 1],
                          corpus.queries()) -
         rows;
}

std::int64_t seeding_clusters(const RowOrder& order, const Corpus& corpus, std::uint32_t cluster,
                              std::int64_t kept) noexcept {
  const std::int64_t wanted = std::max(kLeastSeeds, 8 * kept);
  std::int64_t rows = 0;
  std::int64_t count = 0;
  for (const std::uint32_t other : order.near[cluster]) {
    rows += order.begins[other + 1] - candidates_begin(order, corpus, other);
    ++count;
    if (rows >= wanted) break;
  }
  return count;
}

SweepCounts Sweep::run_candidates(const Candidates& candidates, std::int64_t first,
                                  std::int64_t last, SweepSink& sink, Team& team) const {
  constexpr std::int64_t kGrain = 256;
  SweepCounts counts;
  std::mutex mutex;
  team.for_blocks(last - first, kGrain, [&](std::int64_t begin, std::int64_t end, int thread) {
    SweepWorker worker(corpus_, codes_, order_, sink);
    std::vector<std::uint32_t> places;
    std::vector<SweepEntry> columns;
    for (std::int64_t target = first + begin; target < first + end && !team.stopped(); ++target) {
      places.clear();
      candidates(target, thread, places);
      columns.clear();
      for (const std::uint32_t place : places) {
        columns.push_back({place, static_cast<std::int32_t>(place)});
      }
      worker.run_row({static_cast<std::uint32_t>(target), static_cast<std::int32_t>(target)},
                     columns);
    }
    team.add_work(end - begin);
    const std::lock_guard lock(mutex);
    counts.add(worker.counts());
  });
  return counts;
}

}  // namespace helip::mining
