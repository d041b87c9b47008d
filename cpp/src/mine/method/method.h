// Mining methods: one file each behind one interface.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/team.h"
#include "helip/hard_pairs.h"
#include "helip/mine_options.h"
#include "mine/bound/prepared_corpus.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/corpus.h"
#include "mine/pool/pools.h"
#include "mine/pool/recall.h"

namespace helip::mining {

// What is to be kept; it stays where it is until that is done.
struct MethodState {
  const RowOrder* order = nullptr;
  const HardPairBand* sample = nullptr;       // exact pools of the recall sample
  Pools* pools = nullptr;                     // nullptr: none were begun
  std::int64_t pool_count = 0;                // of the pools, the first
  std::optional<std::int64_t> next;           // cluster or target that the round goes on from
  std::vector<RecallEstimate> recalls;        // after each round
  std::span<const std::uint32_t> neighbours;  // places [rows, each]; empty: none were taken
};

// What an earlier process has kept. All that is read of it throws Error(corrupt) where it cannot be
// that of this corpus.
class SavedMethodState {
 public:
  virtual ~SavedMethodState() = default;

  // `directions`: of the centres, FilterPlan::leading.
  virtual RowOrder order(const Corpus& corpus, std::int64_t directions) const = 0;
  // Scores and counts of the exact pools, in a band of the size of the sample.
  virtual void read_sample(HardPairBand& band) const = 0;
  virtual bool has_pools() const noexcept = 0;
  // Into pools that are empty, of a corpus of so many rows; how many they are, at least `least`.
  virtual std::int64_t read_pools(Pools& pools, std::int64_t rows, std::int64_t least) const = 0;
  virtual std::int64_t next(std::int64_t places) const = 0;
  virtual std::vector<RecallEstimate> recalls() const = 0;
  virtual bool has_neighbours() const noexcept = 0;
  // Places below `places`, or `none`.
  virtual void read_neighbours(std::span<std::uint32_t> neighbours, std::int64_t places,
                               std::uint32_t none) const = 0;
};

class MethodCheckpoint {
 public:
  virtual ~MethodCheckpoint() = default;
  // What an earlier process has saved; nullptr: nothing, or it was saved over.
  virtual const SavedMethodState* found() const noexcept = 0;
  // Whether so much was done since that it is worth saving.
  virtual bool due() const noexcept = 0;
  // All or nothing: until it is there, what was saved before stays. Throws Error: io, cancelled.
  virtual void save(const MethodState& state) = 0;
};

// A round of method partition, of units that can be worked on in any order.
struct MethodRound {
  std::int64_t number = 0;
  std::vector<std::int64_t> work;                       // of each unit
  std::function<void(std::int64_t, std::int64_t)> run;  // units [first, last), to the pools
  std::function<void()> save;                           // what they are run with, by whomever
};

// Rounds whose units processes share.
class SharedRounds {
 public:
  virtual ~SharedRounds() = default;
  // Sees to it that the pools, of these rows, have what all units find. False: other processes are
  // to run some of them first, and the method ends without writing a pool.
  virtual bool see_to(const MethodRound& round, const std::vector<std::uint32_t>& rows,
                      Pools& pools) = 0;
  // Whether units are run here: who unites what others found needs no codes.
  virtual bool needs_codes() const { return true; }
};

// Calls body(begin, end) for slices of [first, count), and save(begin) before one where a
// checkpoint is due. All at once without a checkpoint.
template <typename Save, typename Body>
void in_slices(const MethodCheckpoint* checkpoint, Team& team, std::int64_t first,
               std::int64_t count, const Save& save, const Body& body) {
  constexpr std::int64_t kSlices = 32;
  const std::int64_t step =
      checkpoint == nullptr ? count : std::max<std::int64_t>(1, (count + kSlices - 1) / kSlices);
  for (std::int64_t begin = first; begin < count; begin += step) {
    team.report();
    if (checkpoint != nullptr && checkpoint->due()) save(begin);
    body(begin, std::min(count, begin + step));
  }
}

// What a method works with. One thread at a time.
class MethodContext {
 public:
  // `options`: validated, resolved: candidates is never 0 for method sample. `scratch`: folder for
  // what does not fit into `memory` bytes. `groups`: of near duplicates, see Pools; nullptr: none.
  // `checkpoint` nullptr: what is found is lost with the process. `kept_codes`: of the
  // corpus and the options, see Codes. `rounds` nullptr: this process runs all. All must outlive
  // this.
  MethodContext(const Corpus& corpus, const MineOptions& options, std::int64_t memory,
                std::filesystem::path scratch, const std::uint32_t* groups, Team& team,
                MethodCheckpoint* checkpoint = nullptr, KeptCodes* kept_codes = nullptr,
                SharedRounds* rounds = nullptr);

  const Corpus& corpus;
  const MineOptions& options;
  const std::int64_t memory;
  const std::filesystem::path scratch;
  const std::uint32_t* const groups;
  Team& team;
  MethodCheckpoint* const checkpoint;
  SharedRounds* const rounds;
  bool list_drops = false;  // exact and partition: the report lists what was kept out

  // What an earlier process has found; nullptr: nothing.
  const SavedMethodState* saved() const noexcept {
    return checkpoint == nullptr ? nullptr : checkpoint->found();
  }
  // For another process to go on from, unless files of the corpus became shorter meanwhile.
  void save(const MethodState& state) const {
    corpus.require_whole();
    if (kept_codes_ != nullptr) kept_codes_->publish();  // who goes on begins with them
    checkpoint->save(state);
  }
  // Pairs that a target's pool keeps.
  std::int64_t kept() const noexcept { return options.k + options.skip; }

  // The corpus with the filters of the method, made when it is first asked for, once.
  PreparedCorpus& prepared();
  bool is_prepared() const noexcept { return prepared_ != nullptr; }
  // Prepares the corpus again, as method exact does.
  void prepare_for_exact();
  // Ends the use of codes, for the sake of their memory.
  void drop_codes() noexcept;

 private:
  void prepare(FilterPlan plan, RowOrder order, KeptCodes* codes);

  KeptCodes* const kept_codes_;
  std::unique_ptr<PreparedCorpus> prepared_;
};

// Targets [first, last) of a job. Of its `rows` targets `done` were solved before, for progress.
struct TargetRange {
  std::int64_t first;
  std::int64_t last;
  std::int64_t done;
  std::int64_t rows;

  bool ends_the_job() const noexcept { return done + last - first == rows; }
};

// What a method measured besides the table.
struct MethodReport {
  DropCounts drops;
  bool has_recall = false;
  RecallEstimate recall;
  std::vector<RecallHits> hits;  // sample: what the recall is made of
  struct Hnsw {
    std::int64_t breadth = 0;  // of the searches; 0: another method
    bool reached = true;       // whether the lower limit of the recall is what was asked for
  } hnsw;
  struct Partition {
    std::int64_t clusters = 0;  // 0: another method
    std::int64_t near = 0;      // clusters that each was compared with at least, the closest ones
    std::int64_t passes = 0;    // over the neighbours of neighbours
    double compared = 1.0;      // share of the pairs of rows whose clusters were; 1: exact
  } partition;
};

// Each writes the pools of the targets, in bands. The same bytes for any team, memory and range.
MethodReport mine_exact(MethodContext& context, const TargetRange& targets, HardPairSink& sink);
// Exact pools of a list of targets against the whole corpus, in the order of the list: to measure
// recall by, and for those who ask for them alone. Adds targets.size() * corpus.size() to the
// team's work.
HardPairBand exact_pools(MethodContext& context, const std::vector<std::int64_t>& targets);
MethodReport mine_sample(MethodContext& context, const TargetRange& targets, HardPairSink& sink);
// These write every row of the corpus: the range is all of it.
MethodReport mine_hnsw(MethodContext& context, const TargetRange& targets, HardPairSink& sink);
MethodReport mine_partition(MethodContext& context, const TargetRange& targets, HardPairSink& sink);
// The same of queries, in clusters of what they are mined in.
MethodReport mine_partition_of_queries(MethodContext& context, const TargetRange& targets,
                                       HardPairSink& sink);
// Whether it begins with clusters; else it compares all pairs, and reports so.
bool partition_has_clusters(MethodContext& context);
MethodReport mine_all_pairs(MethodContext& context, const TargetRange& targets, HardPairSink& sink);
void report_all_pairs(std::int64_t rows, MethodReport& report);
// How often the number of clusters that are compared must double to find `target`, at most thrice:
// each time about halves what is missing.
double widenings(const RecallEstimate& recall, double target);

// By the method of context.options, which is not automatic.
MethodReport run_method(MethodContext& context, const TargetRange& targets, HardPairSink& sink);

}  // namespace helip::mining
