// Pairs that a rule kept out of pools, for whoever unites pools of several data sets.
#pragma once

#include <cstdint>
#include <vector>

namespace helip {

// What kept a pair out: the first rule that applied.
enum class DropRule : std::uint8_t {
  image_duplicate = 1,
  text_duplicate,
  margin,
  collapsed,
  positive,
  positive_duplicate,
  duplicate  // by a named channel
};

// A pair that would have been among the best of its target, of those that were looked at.
struct DroppedPair {
  std::int64_t target;
  std::int64_t id;
  double score;
  DropRule rule;
};

using DroppedPairs = std::vector<DroppedPair>;  // by target, then by id

}  // namespace helip
