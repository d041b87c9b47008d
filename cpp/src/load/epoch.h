// An epoch: its random numbers by what they are for, orders in which its targets come, and how they
// are spread over steps and ranks.
#pragma once

#include <cstdint>
#include <vector>

#include "base/counter_random.h"

namespace helip::load {

using random::CounterRandom;

// Part of a random number's key, so that no two uses share a sequence.
enum class Purpose : std::uint64_t {
  order = 1,
  fraction = 2,
  draw = 3,
  fill = 4,
  walk = 5,
  community = 6,
  community_order = 7,
  plain_order = 8,
};

struct EpochRandom {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;

  CounterRandom of(Purpose purpose, std::int64_t row = 0) const noexcept {
    return {seed, static_cast<std::uint64_t>(purpose), static_cast<std::uint64_t>(epoch),
            static_cast<std::uint64_t>(row)};
  }
};

// Every order with the same probability.
void shuffle_rows(std::vector<std::int64_t>& targets, CounterRandom random);

// `targets` rise. Rows [b * block, (b + 1) * block) are block b: blocks come in a random order, and
// rows are shuffled among each four blocks that follow each other.
void shuffle_blocks(std::vector<std::int64_t>& targets, std::int64_t block, CounterRandom random);

// Of the targets of an epoch, or of what is left of them.
struct TargetSpread {
  TargetSpread(std::int64_t all_targets, std::int64_t ranks, std::int64_t per_batch) noexcept
      : targets(all_targets), world_size(ranks) {
    const std::int64_t per_rank = targets / ranks + (targets % ranks != 0 ? 1 : 0);
    steps = per_rank / per_batch + (per_rank % per_batch != 0 ? 1 : 0);
  }

  // Where the targets of batch `number` = step * world_size + rank begin. The product with the
  // remainder keeps batches with one target more evenly among the others.
  std::int64_t begin_of(std::int64_t number) const noexcept {
    const std::int64_t batches = steps * world_size;
    return number * (targets / batches) + number * (targets % batches) / batches;
  }

  // No batch of any rank is empty.
  bool serves_every_rank() const noexcept { return steps <= targets / world_size; }

  std::int64_t targets = 0;
  std::int64_t world_size = 1;
  std::int64_t steps = 0;  // of each rank
};

}  // namespace helip::load
