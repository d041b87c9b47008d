// The rows of a memory as nodes of a graph, so that a search does not look at all of them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/team.h"
#include "helip/hard_pairs.h"
#include "mine/corpus/corpus.h"
#include "mine/graph/product_graph.h"
#include "mine/kernel/kernel.h"
#include "mine/stream/row_memory.h"
#include "mine/stream/streaming_search.h"

namespace helip::mining {

// Rows come into the memory, and leave it, by put() alone. The node of a row that left is passed
// through until the next row takes it; so there are as many nodes as rows of memory and of a batch.
class StreamingGraph {
 public:
  // `memory` is empty, and outlives this.
  StreamingGraph(RowMemory& memory, const StreamDimensions& dimensions, const Rules& rules,
                 const Kernel& kernel);

  // Pools of a batch among its own rows, exactly, and what is found of those that are remembered
  // under other ids. `corpus`: the batch, measured. The same for any team.
  HardPairBand search(std::span<const StreamRow> batch, const Corpus& corpus, std::int64_t k,
                      Team& team);
  // Links the rows and puts them into the memory: all of them, or none where it fails.
  void put(std::span<const StreamRow> batch, const Corpus& corpus, Team& team);

 private:
  void find(const StreamRow& target, const std::int8_t* code, std::int64_t k,
            const GraphSearch::Limits& limits, GraphSearch& search,
            std::vector<Scored>& best) const;

  RowMemory& memory_;
  const StreamDimensions dimensions_;
  const Rules rules_;
  const Kernel& kernel_;
  ProductGraph graph_;
  std::int64_t capacity_ = 0;                               // nodes that there is room for
  std::vector<std::uint32_t> node_of_slot_, slot_of_node_;  // kNone: a row of zeros
  std::vector<std::uint32_t> free_;                         // nodes of rows that left
};

}  // namespace helip::mining
