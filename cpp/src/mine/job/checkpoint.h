// What a job of an approximate method has found so far, kept in "<out>.checkpoint" until its table
// is there. A method saves between slices of its work, and goes on from there in another process.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/team.h"
#include "helip/error.h"
#include "helip/mine.h"
#include "helip/progress.h"
#include "io/tensor_file.h"

namespace helip::mining {

// Numbers as a file has them; those of 32 bits without a sign as signed ones of the same bits.
template <typename T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, double>) return DType::float64;
  if constexpr (std::is_same_v<T, float>) return DType::float32;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::int64;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DType::uint8;
  static_assert(std::is_arithmetic_v<T> && (sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 1));
  return DType::int32;
}

// What is to be saved.
class CheckpointState {
 public:
  nlohmann::json progress = nlohmann::json::object();

  // Numbers that stay where they are until they are saved.
  template <typename T>
  void show(const std::string& name, const T* data, std::int64_t count) {
    tensors_.push_back({name, dtype_of<T>(), {count}, data});
  }
  template <typename T>
  void keep(const std::string& name, std::vector<T> values) {
    const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    show(name, kept->data(), static_cast<std::int64_t>(kept->size()));
    kept_.push_back(kept);
  }
  const std::vector<Tensor>& tensors() const noexcept { return tensors_; }

 private:
  std::vector<Tensor> tensors_;
  std::vector<std::shared_ptr<const void>> kept_;
};

// What was saved. All that is read of it throws Error(corrupt) where it is not what was saved.
class SavedState {
 public:
  SavedState(std::filesystem::path folder, nlohmann::json progress, TensorFile file);

  template <typename T>
  T at(const char* name) const {
    return checked([&] { return progress_.at(name).get<T>(); });
  }
  bool has(const std::string& name) const noexcept { return file_.has(name); }
  template <typename T>
  void read(const std::string& name, T* out, std::int64_t count) const {
    checked([&] {
      file_.read(name, dtype_of<T>(), count, out);
      return true;
    });
  }
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    const std::int64_t count = checked([&] { return file_.elements(name, dtype_of<T>()); });
    std::vector<T> values(static_cast<std::size_t>(count));
    read(name, values.data(), count);
    return values;
  }
  // Whoever reads says what it must be like.
  void require(bool condition, const char* what) const;

 private:
  // With what to do in the message.
  template <typename Read>
  auto checked(const Read& read) const {
    try {
      return read();
    } catch (const nlohmann::json::exception& error) {
      damaged(error.what());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::corrupt) throw;
      damaged(error.what());
    }
  }
  [[noreturn]] void damaged(const std::string& what) const;

  std::filesystem::path folder_;
  nlohmann::json progress_;
  TensorFile file_;
};

std::filesystem::path checkpoint_folder(const std::filesystem::path& out);
// Of the job whose checkpoint lies there; none where there is no checkpoint.
std::optional<Method> begun_method(const std::filesystem::path& folder);

class Checkpoint {
 public:
  // Takes up what lies in the folder, whose table the caller owns. `identity`: see job_identity.h;
  // what else the bytes depend on is added. `seconds`: MineOptions::checkpoint. Throws Error:
  // mismatch with what differs, corrupt.
  Checkpoint(std::filesystem::path folder, nlohmann::ordered_json identity, double seconds,
             const ProgressCallback& progress);

  // What an earlier process has saved.
  const SavedState* found() const noexcept { return found_ ? &*found_ : nullptr; }
  // Whether so much was done since that it is worth saving.
  bool due() const noexcept;
  // All or nothing: until it is there, what was saved before stays. Throws Error: io, cancelled.
  void save(const CheckpointState& state);
  // When the table is there.
  void remove() noexcept;

 private:
  using Clock = std::chrono::steady_clock;

  void remove_all_but(const std::string& state) const;

  const std::filesystem::path folder_;
  const nlohmann::ordered_json identity_;
  const double seconds_;
  const ProgressCallback& progress_;
  std::int64_t saved_ = 0;  // times, over all processes
  std::optional<SavedState> found_;
  Clock::time_point last_ = Clock::now();
  double took_ = 0.0;  // seconds, the last time
};

// Calls body(begin, end) for slices of [first, count), and save(begin) before one where a
// checkpoint is due. All at once without a checkpoint.
template <typename Save, typename Body>
void in_slices(Checkpoint* checkpoint, Team& team, std::int64_t first, std::int64_t count,
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

}  // namespace helip::mining
