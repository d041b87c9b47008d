// What a method has found so far, and whoever keeps it for another process: files are not a
// method's business.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/team.h"
#include "helip/hard_pairs.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/corpus.h"
#include "mine/graph/graph.h"
#include "mine/pool/pools.h"
#include "mine/pool/recall.h"

namespace helip::mining {

// What is to be kept; it stays where it is until that is done.
struct MethodState {
  const RowOrder* order = nullptr;
  const HardPairBand* sample = nullptr;  // exact pools of the recall sample
  Pools* pools = nullptr;                // nullptr: none were begun
  std::int64_t pool_count = 0;           // of the pools, the first
  // hnsw
  const Graph* graph = nullptr;
  std::optional<std::int64_t> breadth;  // of the searches, once it is settled
  RecallEstimate recall;                // at that breadth
  // partition
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
  // hnsw
  virtual Graph graph(const GraphOptions& options, std::int64_t nodes) const = 0;
  virtual std::int64_t breadth(std::int64_t most) const = 0;
  virtual RecallEstimate recall() const = 0;
  // partition
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

}  // namespace helip::mining
