// How the targets of an epoch, or what is left of them, are spread over steps and ranks.
#pragma once

#include <cstdint>

namespace helip::load {

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
