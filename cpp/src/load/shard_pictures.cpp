#include "helip/shard_pictures.h"

namespace helip {

ShardPictures::~ShardPictures() = default;

void ShardPictures::read(std::int64_t row, std::vector<std::byte>& out) const {
  index_.read(row, SampleField::image, out);
}

}  // namespace helip
