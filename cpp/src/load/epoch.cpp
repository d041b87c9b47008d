#include "load/epoch.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace helip::load {
namespace {

// Blocks whose rows are shuffled together: few enough that their bytes stay in the page cache.
constexpr std::size_t kMixedBlocks = 4;

// Fisher-Yates.
template <typename Value>
void shuffle(Value* values, std::size_t count, CounterRandom& random) {
  for (auto last = static_cast<std::int64_t>(count) - 1; last > 0; --last) {
    std::swap(values[last], values[random.below(last + 1)]);
  }
}

}  // namespace

void shuffle_rows(std::vector<std::int64_t>& targets, CounterRandom random) {
  shuffle(targets.data(), targets.size(), random);
}

void shuffle_blocks(std::vector<std::int64_t>& targets, std::int64_t block, CounterRandom random) {
  struct Range {
    std::size_t begin, end;
  };
  std::vector<Range> blocks;
  for (std::size_t begin = 0; begin < targets.size();) {
    std::size_t end = begin + 1;
    while (end < targets.size() && targets[end] / block == targets[begin] / block) ++end;
    blocks.push_back({begin, end});
    begin = end;
  }
  shuffle(blocks.data(), blocks.size(), random);

  std::vector<std::int64_t> order;
  order.reserve(targets.size());
  for (std::size_t first = 0; first < blocks.size(); first += kMixedBlocks) {
    const std::size_t begin = order.size();
    const std::size_t last = std::min(first + kMixedBlocks, blocks.size());
    for (std::size_t i = first; i < last; ++i) {
      order.insert(order.end(), targets.begin() + static_cast<std::ptrdiff_t>(blocks[i].begin),
                   targets.begin() + static_cast<std::ptrdiff_t>(blocks[i].end));
    }
    shuffle(order.data() + begin, order.size() - begin, random);
  }
  targets = std::move(order);
}

}  // namespace helip::load
