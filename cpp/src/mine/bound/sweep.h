// Holds all pairs of two sets of rows against the thresholds of their pools, block by block, and
// passes on those that may reach them. No matrix of scores is ever kept: a tile of products stays
// in the first-level cache, and what passes it goes through tighter and dearer filters at once.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/team.h"
#include "mine/bound/codes.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/scorer.h"

namespace helip::mining {

// Where pairs end up.
class SweepSink {
 public:
  virtual ~SweepSink() = default;
  // Pairs that score less cannot matter to this target any more. Only rises.
  virtual float threshold(std::int64_t target) const noexcept = 0;
  // Whether raise_threshold() may be called.
  virtual bool takes_thresholds() const noexcept { return false; }
  // As many candidates as the target keeps score at least this.
  virtual void raise_threshold(std::int64_t, float) noexcept {}
  // Takes a pair that may reach the threshold of `target`, or that of target `mirror` (-1: none),
  // whose row `row` is.
  virtual void score_pair(std::int64_t target, std::int64_t row, std::int64_t mirror,
                          Scorer& scorer) = 0;
};

struct SweepEntry {
  std::uint32_t place;  // of its codes
  std::int32_t target;  // of the sink; -1: it is a candidate only
};

// Places of the codes, ascending; target t has place targets[t].
struct SweepJob {
  std::vector<std::uint32_t> targets;
  std::vector<std::int32_t> numbers;  // of targets in the sink; empty: t of target t
  // Whether targets are held against each other, each pair once.
  bool mutual = false;
  std::vector<std::uint32_t> others;  // candidates that are no targets, unless not mutual
  // Of others that are targets too, held against `targets` but not against each other; -1 for
  // those that are none, and empty where all are none.
  std::vector<std::int32_t> other_numbers;
};

// Pairs that were looked at, and those that passed: of the tiles, of the next filter, and of the
// codes of both modalities. Depends on when thresholds rose, hence on the number of threads.
struct SweepCounts {
  std::int64_t pairs = 0;
  std::int64_t first = 0;
  std::int64_t second = 0;
  std::int64_t scored = 0;
  void add(const SweepCounts& more);
};

// For each cluster of an order those that it is compared with; of two clusters one names the other.
// The rows of a cluster that names itself are compared with each other.
using ClusterPartners = std::vector<std::vector<std::uint32_t>>;

inline constexpr std::int64_t kSweepBlock = 576;  // rows of a block, whole tiles both ways
inline constexpr std::uint32_t kNoPlace = ~0U;    // of a zero row

// The first place of a cluster that is a candidate: queries come before.
std::int64_t candidates_begin(const RowOrder& order, const Corpus& corpus,
                              std::uint32_t cluster) noexcept;
// Of the clusters near one how many the first thresholds of its rows come from.
std::int64_t seeding_clusters(const RowOrder& order, const Corpus& corpus, std::uint32_t cluster,
                              std::int64_t kept) noexcept;

class Sweep {
 public:
  Sweep(const Corpus& corpus, const FilterPlan& plan, const Codes& codes, const RowOrder& order);

  // Units that run() adds to the team's work, roughly pairs.
  static std::int64_t work(const SweepJob& job) noexcept;
  static std::int64_t bytes_per_thread(const Codes& codes) noexcept;
  SweepCounts run(const SweepJob& job, SweepSink& sink, Team& team) const;

  // Raises thresholds before anything else: of the rows of the closest clusters that look best by a
  // filter's products, each target's `kept`-th score is at least the threshold that it gets. For
  // jobs whose candidates are all rows.
  void seed(const SweepJob& job, std::int64_t kept, SweepSink& sink, Team& team) const;

  // What follows is for sinks whose target t is the row at place t, or the t-th query by place.

  // All pairs of rows of clusters [first, last) and their partners; adds their number to the team's
  // work. Of queries, those of a cluster are compared with the others of each partner.
  SweepCounts run_clusters(const ClusterPartners& partners, std::int64_t first, std::int64_t last,
                           SweepSink& sink, Team& team) const;
  // Thresholds by rows of the first clusters near a target's own.
  void seed_by_clusters(std::int64_t kept, SweepSink& sink, Team& team) const;
  // Writes the places that a target is compared with, none twice and not its own.
  using Candidates =
      std::function<void(std::int64_t target, int worker, std::vector<std::uint32_t>& places)>;
  // Targets [first, last) of the order and their candidates. Adds their number to the team's work.
  SweepCounts run_candidates(const Candidates& candidates, std::int64_t first, std::int64_t last,
                             SweepSink& sink, Team& team) const;

 private:
  void seed_clusters(const SweepJob& job, std::int64_t kept, SweepSink& sink, Team& team) const;
  void probe_clusters(const std::vector<SweepEntry>& probed, std::int64_t kept, SweepSink& sink,
                      Team& team) const;
  void add_cluster(std::uint32_t cluster, std::vector<SweepEntry>& candidates) const;

  const Corpus& corpus_;
  const FilterPlan& plan_;
  const Codes& codes_;
  const RowOrder& order_;
  std::vector<std::uint32_t> places_;  // of each row, where there are positives to look up
};

}  // namespace helip::mining
