// Communities of hard pairs: small groups of rows, each a row and rows of its pool.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "helip/row_groups.h"
#include "load/epoch.h"
#include "load/pair_source.h"

namespace helip::load {

struct CommunityOptions {
  std::int64_t rows = 0;      // of a community, at least 2
  std::int64_t rank_min = 0;  // the window of a pool that a community takes from
  std::int64_t rank_max = 0;  // one past its last rank
};

// An order of rows, and the number of the community that each is in: 0, 1, 2 and so on in the order
// in which they come, -1 of a row that is in none.
struct CommunityOrder {
  std::vector<std::int64_t> rows;
  std::vector<std::int32_t> communities;  // [rows]
};

// Puts `rows` into an order in which the rows of a community follow each other; communities come in
// random order. Each row is in one community.
//
// A random row that is in none yet takes random rows of its window that are in none; then the first
// of these takes from its own window, and so on, until the community is full or nobody has any
// left. Communities of less than a quarter of the rows are
// then given up: each of their rows joins the community of its best hard pair that has room, which
// goes half beyond its rows; where there is none, the row stays alone. No community holds equal
// rows.
//
// Takes time in proportion to rows times the window, and some 24 bytes of memory a row.
CommunityOrder arrange_communities(std::span<const std::int64_t> rows, const PairSource& pairs,
                                   const RowGroups& groups, const CommunityOptions& options,
                                   const EpochRandom& random);

}  // namespace helip::load
