// Orders in which the targets of an epoch come.
#pragma once

#include <cstdint>
#include <vector>

#include "base/counter_random.h"

namespace helip::load {

using random::CounterRandom;

// Every order with the same probability.
void shuffle_rows(std::vector<std::int64_t>& targets, CounterRandom random);

// `targets` rise. Rows [b * block, (b + 1) * block) are block b: blocks come in a random order, and
// rows are shuffled among each four blocks that follow each other.
void shuffle_blocks(std::vector<std::int64_t>& targets, std::int64_t block, CounterRandom random);

}  // namespace helip::load
