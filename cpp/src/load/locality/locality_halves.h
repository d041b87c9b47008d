// Betters an order of rows: halves of it trade rows until no trade keeps more links inside.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "load/locality/pair_graph.h"

namespace helip::load {

// Cuts the order in two, exchanges rows between the parts while that lowers the number of links
// from one to the other, and does the same with each part down to `block` rows: recursive bisection
// as in Dhulipala et al., "Compressing Graphs and Indexes with Recursive Graph Bisection" (KDD
// 2016), with links that are cut as the cost and gains that are kept up to date, so that every
// exchange lowers it. The first part has the largest power of two times `block` rows that is less
// than the whole, so that blocks of every such size start at a multiple of it. `done` is told now
// and then how many rows times levels are finished, of rows * levels(rows, block).
void trade_between_halves(const PairGraph& graph, std::int64_t block, std::vector<Row>& order,
                          const std::function<void(std::int64_t)>& done);

// How often an order of so many rows is cut.
std::int64_t levels(std::int64_t rows, std::int64_t block);

}  // namespace helip::load
