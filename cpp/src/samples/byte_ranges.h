// Which bytes of which shards hold the pictures and captions of some rows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "helip/sample_index.h"

namespace helip::samples {

struct ByteRange {
  std::int64_t shard = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;  // exclusive
  bool operator==(const ByteRange&) const = default;
};

// Ranges so near to each other are one: what lies between takes less time than another read.
inline constexpr std::int64_t kNear = std::int64_t{64} << 10;

// In order of shards and places, none near to another. Of the captions the text, else the .json.
// What read() refuses is left out. `member_of`: as SampleIndex::member().
std::vector<ByteRange> ranges_of(
    const std::vector<SampleShard>& shards,
    const std::function<SampleMember(std::int64_t, SampleField)>& member_of,
    std::span<const std::int64_t> rows);

}  // namespace helip::samples
