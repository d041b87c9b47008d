// How tensors lie in a shard: docs/formats.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "helip/matrix.h"
#include "io/safetensors.h"

namespace helip {

// Alignment of columns inside a shard, so that pieces of several files form one range.
inline constexpr std::int64_t kColumnAlignment = 4096;
inline constexpr std::int64_t kShardHeaderBytes = kColumnAlignment;

inline constexpr const char* kKeysTensor = "keys";
inline constexpr const char* kKeyOffsetsTensor = "key_offsets";
// Filler between tensors up to the alignment: all zero, "padding.0", "padding.1", ...
inline constexpr std::string_view kPaddingPrefix = "padding.";

std::int64_t round_up(std::int64_t value, std::int64_t unit) noexcept;

// "shard-00007.safetensors"
std::string shard_name(std::int64_t number);
bool is_shard_name(const std::string& name) noexcept;

// Lays tensors one after the other, each at the alignment, with filler tensors between.
class ShardLayout {
 public:
  void add(std::string name, DType dtype, std::vector<std::int64_t> shape, bool align = true);

  const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  std::int64_t end() const noexcept { return end_; }

 private:
  void put(std::string name, DType dtype, std::vector<std::int64_t> shape);

  std::vector<TensorInfo> tensors_;
  std::int64_t end_ = kShardHeaderBytes;
  int fillers_ = 0;
};

}  // namespace helip
