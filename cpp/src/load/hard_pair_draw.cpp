#include "load/hard_pair_draw.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace helip::load {

void HardPairDraw::start(const PairSource& pairs, std::int64_t target, const Hardness& hardness,
                         CounterRandom random) {
  const std::int64_t first = hardness.rank_min;
  const std::int64_t last = std::min<std::int64_t>(pairs.count(target), hardness.rank_max);
  temperature_ = hardness.draw_temperature;
  random_ = random;
  left_.clear();
  if (temperature_ == 0.0) {
    for (std::int64_t rank = first; rank < last; ++rank) left_.push_back({0.0, rank});
    return;
  }
  // Measured from the largest score: the Gumbel term keeps its digits at any low temperature.
  const double best = first < last ? static_cast<double>(pairs.score(target, first)) : 0.0;
  for (std::int64_t rank = first; rank < last; ++rank) {
    const double score = static_cast<double>(pairs.score(target, rank));
    double key = (score - best) / temperature_ + random_.gumbel();
    if (std::isnan(key)) key = -std::numeric_limits<double>::infinity();
    left_.push_back({key, rank});
  }
  std::make_heap(left_.begin(), left_.end(), later);
}

std::int64_t HardPairDraw::next() {
  if (left_.empty()) return -1;
  if (temperature_ == 0.0) {
    const auto drawn =
        static_cast<std::size_t>(random_.below(static_cast<std::int64_t>(left_.size())));
    std::swap(left_[drawn], left_.back());
  } else {
    std::pop_heap(left_.begin(), left_.end(), later);
  }
  const std::int64_t rank = left_.back().rank;
  left_.pop_back();
  return rank;
}

bool HardPairDraw::later(const Place& left, const Place& right) noexcept {
  if (left.key != right.key) return left.key < right.key;
  return left.rank > right.rank;
}

}  // namespace helip::load
