// Mining methods: one file each behind one interface.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/team.h"
#include "helip/hard_pairs.h"
#include "helip/mine_options.h"
#include "mine/bound/prepared_corpus.h"
#include "mine/corpus/corpus.h"
#include "mine/method/checkpoint.h"
#include "mine/pool/pools.h"
#include "mine/pool/recall.h"

namespace helip::mining {

// Calls body(begin, end) for slices of [first, count), and save(begin) before one where a
// checkpoint is due. All at once without a checkpoint.
template <typename Save, typename Body>
void in_slices(const Checkpoint* checkpoint, Team& team, std::int64_t first, std::int64_t count,
               const Save& save, const Body& body) {
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
  // corpus and the options, see Codes. All must outlive this.
  MethodContext(const Corpus& corpus, const MineOptions& options, std::int64_t memory,
                std::filesystem::path scratch, const std::uint32_t* groups, Team& team,
                Checkpoint* checkpoint = nullptr, KeptCodes* kept_codes = nullptr);

  const Corpus& corpus;
  const MineOptions& options;
  const std::int64_t memory;
  const std::filesystem::path scratch;
  const std::uint32_t* const groups;
  Team& team;
  Checkpoint* const checkpoint;
  bool list_drops = false;  // exact and partition: the report lists what was kept out

  // What an earlier process has found; nullptr: nothing.
  const SavedMethodState* saved() const noexcept {
    return checkpoint == nullptr ? nullptr : checkpoint->found();
  }
  // For another process to go on from, unless files of the corpus became shorter meanwhile.
  void save(const MethodState& state) const {
    corpus.require_whole();
    checkpoint->save(state);
  }
  // Pairs that a target's pool keeps.
  std::int64_t kept() const noexcept { return options.k + options.skip; }

  // The corpus with the filters of the method, made when it is first asked for, once.
  PreparedCorpus& prepared();
  bool is_prepared() const noexcept { return prepared_ != nullptr; }
  // Of so many targets with all rows.
  PairSearch search(std::int64_t targets) {
    return {corpus, filters_pay(corpus, targets) ? &prepared() : nullptr, memory, team};
  }
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

// By the method of context.options, which is not automatic.
MethodReport run_method(MethodContext& context, const TargetRange& targets, HardPairSink& sink);

}  // namespace helip::mining
