#include "samples/byte_ranges.h"

#include <algorithm>
#include <tuple>

#include "samples/sample_rows.h"

namespace helip::samples {

std::vector<ByteRange> ranges_of(
    const std::vector<SampleShard>& shards,
    const std::function<SampleMember(std::int64_t, SampleField)>& member_of,
    std::span<const std::int64_t> rows) {
  std::vector<ByteRange> all;
  const auto add = [&](const SampleMember& member, std::int64_t limit) {
    if (member.state != MemberState::present) return false;
    const std::int64_t end = shards[static_cast<std::size_t>(member.shard)].bytes;
    if (member.bytes >= 0 && member.bytes <= limit && member.offset <= end - member.bytes) {
      all.push_back({member.shard, member.offset, member.offset + member.bytes});
    }
    return true;
  };
  for (const std::int64_t row : rows) {
    add(member_of(row, SampleField::image), kImageLimit);
    if (!add(member_of(row, SampleField::text), kTextLimit)) {
      add(member_of(row, SampleField::json), kTextLimit);
    }
  }
  std::sort(all.begin(), all.end(), [](const ByteRange& left, const ByteRange& right) {
    return std::tie(left.shard, left.begin) < std::tie(right.shard, right.begin);
  });
  std::vector<ByteRange> joined;
  for (const ByteRange& range : all) {
    if (!joined.empty() && joined.back().shard == range.shard &&
        range.begin - joined.back().end <= kNear) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

}  // namespace helip::samples
