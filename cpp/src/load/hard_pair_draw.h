// The order in which one target's hard pairs are offered to a batch.
#pragma once

#include <cstdint>
#include <vector>

#include "base/counter_random.h"
#include "helip/batch_sampler.h"
#include "load/pair_source.h"

namespace helip::load {

using random::CounterRandom;

// Draws the ranks of a target's window without replacement, one at a time, each with equal
// probability or in proportion to exp(score / temperature). One object serves many targets and
// keeps its buffer. Not thread-safe.
class HardPairDraw {
 public:
  // Begins with another target; `random` belongs to it alone. Where the target's pool ends before
  // the window begins, there is nothing to draw.
  void start(const PairSource& pairs, std::int64_t target, const Hardness& hardness,
             CounterRandom random);
  // The next rank, or -1 when the window is exhausted.
  std::int64_t next();

 private:
  struct Place {
    double key;  // draws go from the largest down; unused without a temperature
    std::int64_t rank;
  };
  static bool later(const Place& left, const Place& right) noexcept;

  double temperature_ = 0.0;
  CounterRandom random_{};
  std::vector<Place> left_;  // not drawn yet; a heap when there is a temperature
};

}  // namespace helip::load
