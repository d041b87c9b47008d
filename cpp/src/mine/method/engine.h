// One mining method a file behind one small interface; mine.cpp chooses between them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/team.h"
#include "helip/hard_pairs.h"
#include "helip/mine.h"
#include "mine/bound/codes.h"
#include "mine/bound/filter_plan.h"
#include "mine/bound/row_order.h"
#include "mine/bound/sweep.h"
#include "mine/corpus/scorer.h"
#include "mine/job/checkpoint.h"
#include "mine/method/recall.h"
#include "mine/pool/pools.h"

namespace helip::mining {

class Filters;

// A mining job; one thread at a time.
class Context {
 public:
  // `scratch`: folder for what does not fit into `memory` bytes. `groups`: of near duplicates, see
  // Pools; nullptr: none. `checkpoint` nullptr: what is found is lost with the process.
  Context(const Corpus& corpus, const MineOptions& options, std::int64_t memory,
          std::filesystem::path scratch, const std::uint32_t* groups, Team& team,
          Checkpoint* checkpoint = nullptr);
  ~Context();

  const Corpus& corpus;
  const MineOptions& options;  // validated, resolved: candidates is never 0 for method sample
  const std::int64_t memory;
  const std::filesystem::path scratch;
  const std::uint32_t* const groups;
  Team& team;
  Checkpoint* const checkpoint;

  // What an earlier process has found; nullptr: nothing.
  const SavedState* saved() const noexcept {
    return checkpoint == nullptr ? nullptr : checkpoint->found();
  }
  // Pairs that a target's pool keeps.
  std::int64_t kept() const noexcept { return options.k + options.skip; }
  // Made when first asked for, once.
  const Filters& filters() const;
  bool has_filters() const noexcept { return filters_ != nullptr; }
  // Those of another method take their place.
  void choose_filters_again(Method method) const;
  // Ends their use for sweeps.
  void drop_codes() const noexcept;

 private:
  mutable std::unique_ptr<Filters> filters_;
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
struct Report {
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
    std::int64_t near = 0;      // clusters that each one met at least, of those closest to it
    std::int64_t passes = 0;    // over the neighbours of neighbours
    double met = 1.0;           // share of the pairs of rows whose clusters met; 1: exact
  } partition;
};

// Writes the pools of the targets, in bands. The same bytes for any team, memory and range.
Report mine_exact(const Context& context, const TargetRange& targets, HardPairSink& sink);
Report mine_sample(const Context& context, const TargetRange& targets, HardPairSink& sink);
// Of every row of the corpus.
Report mine_hnsw(const Context& context, HardPairSink& sink);
Report mine_partition(const Context& context, HardPairSink& sink);

// Below this number of rows every pair is scored; so is it for few targets.
inline constexpr std::int64_t kLeastRowsToFilter = 256;
inline constexpr std::int64_t kLeastTargetsToFilter = 64;
// Above, products of codes could leave 32 bits.
inline constexpr std::int64_t kMostDimensionsToFilter = 65536;
bool filters_pay(const Corpus& corpus, std::int64_t targets) noexcept;

// The filters that a method's pairs go through.
FilterPlan choose_filters_for(const Corpus& corpus, const MineOptions& options, Team& team);

// What a target takes while its pool is found: the pool, and its numbers.
std::int64_t bytes_of_target(std::int64_t kept) noexcept;

// Where the codes of all rows go, and what is then left of the memory.
struct MemoryUse {
  bool codes_on_disk;
  std::int64_t codes;  // bytes
  std::int64_t left;   // for pools
};
// They stay in memory where they take half of it at most, or leave room for pools of `kept` pairs
// of all rows.
MemoryUse memory_use(const Corpus& corpus, const FilterPlan& plan, std::int64_t kept,
                     std::int64_t memory) noexcept;

// A corpus made ready for sweeps. Codes are made when the first sweep is asked for.
class Filters {
 public:
  struct Parts {
    FilterPlan plan;
    RowOrder order;
  };
  // For pools of `kept` pairs.
  Filters(const Corpus& corpus, Parts parts, std::int64_t kept, std::int64_t memory,
          const std::filesystem::path& scratch, Team& team);
  // In clusters.
  Filters(const Corpus& corpus, FilterPlan plan, std::int64_t kept, std::int64_t memory,
          const std::filesystem::path& scratch, Team& team);

  const FilterPlan& plan() const noexcept { return plan_; }
  const RowOrder& order() const noexcept { return order_; }
  const Sweep& sweep() const;
  const Codes& codes() const;
  // Places of the codes of these rows, ascending; zero rows have none.
  std::vector<std::uint32_t> places_of(const std::vector<std::uint32_t>& rows) const;
  // Beside the codes and what a sweep takes.
  std::int64_t memory_left() const;
  // After the last sweep: what is written then needs the memory.
  void drop_codes() noexcept { codes_.reset(); }

 private:
  const Corpus& corpus_;
  const FilterPlan plan_;
  const RowOrder order_;
  const MemoryUse use_;
  const std::filesystem::path scratch_;
  Team& team_;
  mutable std::unique_ptr<Codes> codes_;
  mutable std::optional<Sweep> sweep_;
  mutable std::int64_t memory_left_ = 0;
};

// How many targets' pools fit into `memory`. One that is too small for anything gets the least
// that works.
struct BandSize {
  std::int64_t targets;
  std::int64_t bands;
};
BandSize band_size(std::int64_t targets, const MineOptions& options, std::int64_t rows,
                   std::int64_t memory) noexcept;

// A band of empty pools.
HardPairBand make_band(std::int64_t first, std::int64_t rows, std::int64_t k);
// Rows of a band that is handed to a sink: few enough to be small beside the buffers.
std::int64_t band_rows_for(std::int64_t k) noexcept;
// Finishes pools and writes them: row first + i of the table is target slots[i] of `pools`, or has
// no pairs where that is -1.
void write_pools(const Context& context, Pools& pools, const std::vector<std::int64_t>& slots,
                 std::int64_t first, HardPairSink& sink, DropCounts& drops);

// Exact pools of a list of targets against the whole corpus, in the order of the list. Adds
// targets.size() * corpus.size() to the team's work.
HardPairBand exact_pools(const Context& context, const std::vector<std::int64_t>& targets);

}  // namespace helip::mining
