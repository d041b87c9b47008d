#include "helip/shard_pictures.h"

namespace helip {

ShardPictures::~ShardPictures() = default;

void ShardPictures::read(std::int64_t row, std::vector<std::byte>& out) const {
  index_.read(row, SampleField::image, out);
}

void ShardPictures::will_need(std::int64_t row) const noexcept {
  index_.will_need(row, SampleField::image);
}

}  // namespace helip
