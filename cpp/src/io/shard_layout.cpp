#include "io/shard_layout.h"

#include <algorithm>
#include <utility>

namespace helip {

std::int64_t round_up(std::int64_t value, std::int64_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

std::string shard_name(std::int64_t number) {
  const std::string digits = std::to_string(number);
  return "shard-" + std::string(5 - std::min<std::size_t>(5, digits.size()), '0') + digits +
         ".safetensors";
}

bool is_shard_name(const std::string& name) noexcept {
  return name.starts_with("shard-") && name.ends_with(".safetensors");
}

void ShardLayout::add(std::string name, DType dtype, std::vector<std::int64_t> shape, bool align) {
  const std::int64_t gap = round_up(end_, kColumnAlignment) - end_;
  if (align && gap > 0) {
    put(std::string(kPaddingPrefix) + std::to_string(fillers_++), DType::uint8, {gap});
  }
  put(std::move(name), dtype, std::move(shape));
}

void ShardLayout::put(std::string name, DType dtype, std::vector<std::int64_t> shape) {
  std::int64_t bytes = size_of(dtype);
  for (const std::int64_t extent : shape) bytes *= extent;
  tensors_.push_back({std::move(name), dtype, std::move(shape), end_, end_ + bytes});
  end_ += bytes;
}

}  // namespace helip
