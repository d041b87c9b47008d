// What a job of an approximate method has found so far, kept in "<out>.checkpoint" until its table
// is there. A method saves between slices of its work, and goes on from there in another process.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "helip/mine_options.h"
#include "helip/progress.h"
#include "io/json.h"
#include "mine/job/state_file.h"
#include "mine/method/method_state.h"

namespace helip::mining {

std::filesystem::path checkpoint_folder(const std::filesystem::path& out);
// Of the job whose checkpoint lies there; none where there is no checkpoint.
std::optional<MiningMethod> begun_method(const std::filesystem::path& folder);

class Checkpoint final : public MethodCheckpoint {
 public:
  // Takes up what lies in the folder, whose table the caller owns. `identity`: see job_identity.h;
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
