// The layer above a graph by which hnswlib enters it: links among the starts.
#pragma once

#include <cstdint>
#include <vector>

#include "mine/graph/graph.h"
#include "mine/graph/pair_codes.h"

namespace helip::mining {

struct UpperLayer {
  std::vector<std::vector<std::uint32_t>> links;  // of each start of the graph, nodes
  std::uint32_t entry = 0;                        // that the others are most like on average
};

// `degree`: most links of a start. Compares every two starts.
UpperLayer upper_layer(const Graph& graph, const PairCodeView& rows, std::int64_t degree);

}  // namespace helip::mining
