// A table of hard pairs as an undirected graph: a link for each target and hard pair of its pool.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "helip/hard_pairs.h"

namespace helip::load {

using Row = std::int32_t;

// Holds the links towards a row; those from it are read in the table. Two rows that are each
// other's hard pair have two links.
class PairGraph {
 public:
  // `ranks`: of each pool, the best that count.
  PairGraph(HardPairs pairs, std::int64_t ranks) : pairs_(std::move(pairs)), ranks_(ranks) {
    const std::int64_t rows = pairs_.size();
    starts_.assign(static_cast<std::size_t>(rows) + 1, 0);
    for (std::int64_t row = 0; row < rows; ++row) {
      each_pair(row, [&](Row pair) { ++starts_[static_cast<std::size_t>(pair) + 1]; });
    }
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
      starts_[row + 1] += starts_[row];
    }
    targets_.resize(static_cast<std::size_t>(starts_.back()));
    std::vector<std::int64_t> next(starts_.begin(), starts_.end() - 1);
    for (std::int64_t row = 0; row < rows; ++row) {
      each_pair(row, [&](Row pair) {
        targets_[static_cast<std::size_t>(next[static_cast<std::size_t>(pair)]++)] =
            static_cast<Row>(row);
      });
    }
  }

  std::int64_t size() const noexcept { return pairs_.size(); }
  std::int64_t links() const noexcept { return starts_.back(); }

  // Calls visit(neighbour) for each link of a row: its pool, then the targets that it is a hard
  // pair of.
  template <typename Visit>
  void each_link(Row row, Visit visit) const {
    each_pair(row, visit);
    const auto first = static_cast<std::size_t>(starts_[static_cast<std::size_t>(row)]);
    const auto last = static_cast<std::size_t>(starts_[static_cast<std::size_t>(row) + 1]);
    for (std::size_t i = first; i < last; ++i) visit(targets_[i]);
  }

 private:
  template <typename Visit>
  void each_pair(std::int64_t row, Visit visit) const {
    const std::int64_t count = std::min<std::int64_t>(pairs_.count(row), ranks_);
    for (std::int64_t rank = 0; rank < count; ++rank) {
      visit(static_cast<Row>(pairs_.id(row, rank)));
    }
  }

  HardPairs pairs_;
  std::int64_t ranks_;
  std::vector<std::int64_t> starts_;  // [N + 1] into targets_
  std::vector<Row> targets_;          // [links]
};

}  // namespace helip::load
