// The random numbers of an epoch, by what they are for.
#pragma once

#include <cstdint>

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

}  // namespace helip::load
