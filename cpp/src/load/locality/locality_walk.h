// A first order of rows: a greedy walk that always takes the row with most links to the last ones.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "load/locality/pair_graph.h"

namespace helip::load {

// A permutation of the rows. Each next row is the one with most links to the `window` rows before
// it, of several the one whose links grew last; where no row has any, the next row by number that
// is not placed, cyclically from `start`. Every link is looked at four times: the greedy order of
// Wei et al., "Speedup Graph Processing by Graph Ordering" (SIGMOD 2016), by neighbours alone.
// `placed` is told now and then how many rows have their place.
std::vector<Row> locality_walk(const PairGraph& graph, std::int64_t window, std::int64_t start,
                               const std::function<void(std::int64_t)>& placed);

}  // namespace helip::load
