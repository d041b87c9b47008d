// What a job of an approximate method has found so far, kept in "<out>.checkpoint" until its table
// is there. A method saves between slices of its work, and goes on from there in another process.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "helip/hard_pairs.h"
#include "helip/mine_options.h"
#include "helip/progress.h"
#include "io/damaged_content.h"
#include "io/json.h"
#include "io/tensor_columns.h"
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
  // `folder` of the checkpoint, for messages.
  SavedMethodState(std::filesystem::path folder, Json progress, TensorFile file);

  // `directions`: of the centres, FilterPlan::leading.
  RowOrder order(const Corpus& corpus, std::int64_t directions) const;
  // Scores and counts of the exact pools, in a band of the size of the sample.
  void read_sample(HardPairBand& band) const;
  bool has_pools() const noexcept { return file_.has("pools.held"); }
  // Into pools that are empty, of a corpus of so many rows; how many they are, at least `least`.
  std::int64_t read_pools(Pools& pools, std::int64_t rows, std::int64_t least) const;
  // hnsw
  Graph graph(const GraphOptions& options, std::int64_t nodes) const;
  std::int64_t breadth(std::int64_t most) const { return number("breadth", 1, most); }
  RecallEstimate recall() const;
  // partition
  std::int64_t next(std::int64_t places) const { return number("next", 0, places - 1); }
  std::vector<RecallEstimate> recalls() const;
  bool has_neighbours() const noexcept { return file_.has("neighbours"); }
  // Places below `places`, or `none`.
  void read_neighbours(std::span<std::uint32_t> neighbours, std::int64_t places,
                       std::uint32_t none) const;

 private:
  // Within least .. most.
  std::int64_t number(const char* name, std::int64_t least, std::int64_t most) const;
  template <typename T>
  void read(const std::string& name, std::span<T> out) const {
    checked([&] {
      read_column(file_, name, out);
      return true;
    });
  }
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    return checked([&] { return read_column<T>(file_, name); });
  }
  // With what to do in the message.
  template <typename Read>
  auto checked(const Read& read) const {
    return read_or_damaged(read, [this](const char* what) { damaged(what); });
  }
  void require(bool condition, const char* what) const;
  [[noreturn]] void damaged(const std::string& what) const;

  std::filesystem::path folder_;
  Json progress_;
  TensorFile file_;
};

std::filesystem::path checkpoint_folder(const std::filesystem::path& out);
// Of the job whose checkpoint lies there; none where there is no checkpoint.
std::optional<MiningMethod> method_of_checkpoint(const std::filesystem::path& folder);

class Checkpoint {
 public:
  // Takes up what lies in the folder, whose table the caller owns. `identity`: what the bytes
  // depend on. `seconds`: MineOptions::checkpoint. Throws Error: mismatch with what differs,
  // corrupt.
  Checkpoint(std::filesystem::path folder, OrderedJson identity, double seconds,
             const ProgressCallback& progress);

  // What an earlier process has saved; nullptr: nothing, or it was saved over.
  const SavedMethodState* found() const noexcept { return found_ ? &*found_ : nullptr; }
  // Whether so much was done since that it is worth saving.
  bool due() const noexcept;
  // All or nothing: until it is there, what was saved before stays. Throws Error: io, cancelled.
  void save(const MethodState& state);
  // When the table is there.
  void remove() noexcept;

 private:
  using Clock = std::chrono::steady_clock;

  void remove_all_but(const std::string& state) const noexcept;

  const std::filesystem::path folder_;
  const OrderedJson identity_;
  const double seconds_;
  const ProgressCallback& progress_;
  std::int64_t saved_ = 0;  // times, over all processes
  std::optional<SavedMethodState> found_;
  Clock::time_point last_ = Clock::now();
  double took_ = 0.0;  // seconds, the last time
};

}  // namespace helip::mining
