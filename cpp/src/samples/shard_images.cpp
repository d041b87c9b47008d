#include "helip/shard_images.h"

namespace helip {

ShardImages::~ShardImages() = default;

void ShardImages::read(std::int64_t row, std::vector<std::byte>& out) const {
  index_.read(row, SampleField::image, out);
}

void ShardImages::will_need(std::span<const std::int64_t> rows) const noexcept {
  index_.will_need(rows);
}

}  // namespace helip
