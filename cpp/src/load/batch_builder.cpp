#include "load/batch_builder.h"

#include <algorithm>
#include <utility>

namespace helip::load {

BatchBuilder::BatchBuilder(const PairSource& pairs, const BatchOptions& options,
                           const RowGroups& groups, BatchStatistics& statistics)
    : pairs_(pairs), options_(options), groups_(groups), statistics_(statistics) {}

void BatchBuilder::begin(std::span<const std::int64_t> targets, const EpochRandom& random,
                         double fraction) {
  random_ = random;
  fraction_ = fraction;
  targets_ = 0;
  batch_ = {};
  places_.clear();
  taken_.clear();
  for (const std::int64_t target : targets) {
    if (admits(target)) {
      add(target, targets_++);
    } else {
      ++statistics_.equal_targets;
    }
  }
  ++statistics_.batches;
  statistics_.targets += targets_;
}

void BatchBuilder::allow(std::int64_t most_rows) {
  most_rows_ = most_rows;
  const auto most = static_cast<std::size_t>(std::min(most_rows, pairs_.size()));
  batch_.index.reserve(most);
  batch_.target.reserve(most);
}

BatchRows BatchBuilder::take() { return std::exchange(batch_, {}); }

bool BatchBuilder::full() const noexcept {
  return static_cast<std::int64_t>(batch_.index.size()) >= most_rows_;
}

std::int64_t BatchBuilder::place_of(std::int64_t row) const {
  const auto found = places_.find(row);
  return found == places_.end() ? -1 : found->second;
}

bool BatchBuilder::admits(std::int64_t row) const {
  const auto groups = groups_.of(row);
  return std::none_of(groups.begin(), groups.end(),
                      [this](std::int64_t group) { return taken_.contains(group); });
}

bool BatchBuilder::serves_itself(std::int64_t place) const {
  return batch_.target[static_cast<std::size_t>(place)] == place;
}

bool BatchBuilder::gets_hard_pairs(std::int64_t target_place) const {
  return random(Purpose::fraction, target_place).unit() < fraction_;
}

void BatchBuilder::add_hard_pair(std::int64_t row, std::int64_t target_place) {
  add(row, target_place);
  ++statistics_.hard_pairs;
}

void BatchBuilder::let_serve(std::int64_t place, std::int64_t target_place) {
  batch_.target[static_cast<std::size_t>(place)] = target_place;
}

void BatchBuilder::fill_up(std::int64_t target_place, CounterRandom& random) {
  const bool wanted = options_.short_policy == ShortPolicy::random && !full();
  const std::int64_t row = wanted ? random_row(random) : -1;
  if (row < 0) {
    ++statistics_.unfilled;
    return;
  }
  add(row, target_place);
  ++statistics_.random_fills;
}

void BatchBuilder::add(std::int64_t row, std::int64_t target_place) {
  places_.emplace(row, static_cast<std::int64_t>(batch_.index.size()));
  batch_.index.push_back(row);
  batch_.target.push_back(target_place);
  const auto groups = groups_.of(row);
  taken_.insert(groups.begin(), groups.end());
}

// A row that is not in the batch, nor equal to one that is, or -1 when there is none.
std::int64_t BatchBuilder::random_row(CounterRandom& random) const {
  const std::int64_t rows = pairs_.size();
  if (static_cast<std::int64_t>(places_.size()) >= rows) return -1;
  constexpr int kTries = 64;  // misses happen only where the batch is most of the data set
  const auto serves = [this](std::int64_t row) { return !places_.contains(row) && admits(row); };
  std::int64_t row = random.below(rows);
  for (int i = 0; i < kTries && !serves(row); ++i) row = random.below(rows);
  for (std::int64_t passed = 0; passed < rows; ++passed, row = (row + 1) % rows) {
    if (serves(row)) return row;
  }
  return -1;
}

}  // namespace helip::load
