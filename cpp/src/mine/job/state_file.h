// What a method has found so far as the columns of a file, and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "io/json.h"
#include "io/tensor_file.h"
#include "mine/method/method_state.h"

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

// A state to be written. What the state shows must stay where it is.
class StateColumns {
 public:
  explicit StateColumns(const MethodState& state);

  const Json& progress() const noexcept { return progress_; }
  const std::vector<Tensor>& tensors() const noexcept { return tensors_; }

 private:
  void add_pools(const MethodState& state);
  // Numbers that stay where they are.
  template <typename Range>
  void show(const std::string& name, const Range& values) {
    using T = std::remove_const_t<typename Range::value_type>;
    tensors_.push_back(
        {name, dtype_of<T>(), {static_cast<std::int64_t>(values.size())}, values.data()});
  }
  template <typename T>
  void keep(const std::string& name, std::vector<T> values) {
    const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    show(name, *kept);
    kept_.push_back(kept);
  }

  Json progress_ = Json::object();
  std::vector<Tensor> tensors_;
  std::vector<std::shared_ptr<const void>> kept_;
};

// A state that was written.
class StateFile final : public SavedMethodState {
 public:
  // `folder` of the checkpoint, for messages.
  StateFile(std::filesystem::path folder, Json progress, TensorFile file);

  RowOrder order(const Corpus& corpus, std::int64_t directions) const override;
  void read_sample(HardPairBand& band) const override;
  bool has_pools() const noexcept override { return file_.has("pools.held"); }
  std::int64_t read_pools(Pools& pools, std::int64_t rows, std::int64_t least) const override;
  Graph graph(const GraphOptions& options, std::int64_t nodes) const override;
  std::int64_t breadth() const override { return at<std::int64_t>("breadth"); }
  RecallEstimate recall() const override;
  std::int64_t next(std::int64_t places) const override;
  std::vector<RecallEstimate> recalls() const override;
  bool has_neighbours() const noexcept override { return file_.has("neighbours"); }
  void read_neighbours(std::span<std::uint32_t> neighbours, std::int64_t places,
                       std::uint32_t none) const override;

 private:
  template <typename T>
  T at(const char* name) const {
    return checked([&] { return progress_.at(name).get<T>(); });
  }
  template <typename T>
  void read(const std::string& name, std::span<T> out) const {
    checked([&] {
      file_.read(name, dtype_of<T>(), static_cast<std::int64_t>(out.size()), out.data());
      return true;
    });
  }
  template <typename T>
  std::vector<T> read(const std::string& name) const {
    const std::int64_t count = checked([&] { return file_.elements(name, dtype_of<T>()); });
    std::vector<T> values(static_cast<std::size_t>(count));
    read(name, std::span(values));
    return values;
  }
  // With what to do in the message.
  template <typename Read>
  auto checked(const Read& read) const {
    try {
      return read();
    } catch (const Json::exception& error) {
      damaged(error.what());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::corrupt) throw;
      damaged(error.what());
    }
  }
  void require(bool condition, const char* what) const;
  [[noreturn]] void damaged(const std::string& what) const;

  std::filesystem::path folder_;
  Json progress_;
  TensorFile file_;
};

[[noreturn]] void throw_damaged_checkpoint(const std::filesystem::path& folder,
                                           const std::string& what);

}  // namespace helip::mining
