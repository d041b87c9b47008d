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

#include "helip/mine_options.h"
#include "helip/progress.h"
#include "io/damaged_content.h"
#include "io/json.h"
#include "io/tensor_columns.h"
#include "mine/method/method.h"

namespace helip::mining {

// A state to be written. What the state shows must stay where it is.
class StateColumns {
 public:
  explicit StateColumns(const MethodState& state);

  const Json& progress() const noexcept { return progress_; }
  const std::vector<Tensor>& tensors() const noexcept { return columns_.tensors(); }

 private:
  void add_pools(const MethodState& state);
  Json progress_ = Json::object();
  TensorColumns columns_;
};

// What is wanted of the pools of a state: theirs, or what keeps a pair out of them.
enum class SavedPools { whole, thresholds };

// A state that was written.
class StateFile final : public SavedMethodState {
 public:
  // `folder` of the checkpoint, for messages.
  StateFile(std::filesystem::path folder, Json progress, TensorFile file, SavedPools pools);

  RowOrder order(const Corpus& corpus, std::int64_t directions) const override;
  void read_sample(HardPairBand& band) const override;
  bool has_pools() const noexcept override { return file_.has("pools.held"); }
  std::int64_t read_pools(Pools& pools, std::int64_t rows, std::int64_t least) const override;
  std::int64_t next(std::int64_t places) const override;
  std::vector<RecallEstimate> recalls() const override;
  bool has_neighbours() const noexcept override { return file_.has("neighbours"); }
  void read_neighbours(std::span<std::uint32_t> neighbours, std::int64_t places,
                       std::uint32_t none) const override;

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
  SavedPools pools_;
};

[[noreturn]] void throw_damaged_checkpoint(const std::filesystem::path& folder,
                                           const std::string& what);

std::filesystem::path checkpoint_folder(const std::filesystem::path& out);
// Of the job whose checkpoint lies there; none where there is no checkpoint.
std::optional<MiningMethod> method_of_checkpoint(const std::filesystem::path& folder);

// What another process has saved, and goes on from itself.
class OthersCheckpoint final : public MethodCheckpoint {
 public:
  // Of this job, see Checkpoint. Throws Error: mismatch with what differs, corrupt.
  OthersCheckpoint(const std::filesystem::path& folder, OrderedJson identity, SavedPools pools);

  const SavedMethodState* found() const noexcept override { return found_ ? &*found_ : nullptr; }
  bool due() const noexcept override { return false; }
  void save(const MethodState&) override {}

 private:
  std::optional<StateFile> found_;
};

class Checkpoint final : public MethodCheckpoint {
 public:
  // Takes up what lies in the folder, whose table the caller owns. `identity`: see identity_of();
  // what else the bytes depend on is added. `seconds`: MineOptions::checkpoint. Throws Error:
  // mismatch with what differs, corrupt.
  Checkpoint(std::filesystem::path folder, OrderedJson identity, double seconds,
             const ProgressCallback& progress);

  const SavedMethodState* found() const noexcept override { return found_ ? &*found_ : nullptr; }
  bool due() const noexcept override;
  void save(const MethodState& state) override;
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
  std::optional<StateFile> found_;
  Clock::time_point last_ = Clock::now();
  double took_ = 0.0;  // seconds, the last time
};

}  // namespace helip::mining
