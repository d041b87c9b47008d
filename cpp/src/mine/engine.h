// One mining method a file behind one small interface; mine.cpp chooses between them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "filter.h"
#include "helip/hard_pairs.h"
#include "helip/mine.h"
#include "recall.h"
#include "scan.h"
#include "scorer.h"
#include "team.h"

namespace helip::mining {

struct Context {
  const Corpus& corpus;
  const Filter& filter;
  const MineOptions& options;  // validated, resolved: candidates is never 0 for method sample
  std::int64_t memory;         // bytes for buffers
  Team& team;
};

// What a method measured besides the table.
struct Report {
  DropCounts drops;
  bool has_recall = false;
  RecallEstimate recall;
  std::int64_t ef = 0;      // hnsw: breadth of the search in each graph
  std::int64_t graphs = 0;  // hnsw
};

// Writes the pools of every row of the corpus, in bands. The same bytes for any team and memory.
Report mine_exact(const Context& context, HardPairSink& sink);
Report mine_sample(const Context& context, HardPairSink& sink);
Report mine_hnsw(const Context& context, HardPairSink& sink);

// How many targets' buffers fit, and how many targets are packed at a time. A budget that is too
// small for anything gets the least that works.
struct BandSize {
  std::int64_t targets;
  std::int64_t block_rows;
  std::int64_t bands;
  std::int64_t bytes;
};
BandSize band_size(const Filter& filter, std::int64_t targets, std::int64_t candidates,
                   std::int64_t k, std::int64_t memory, int threads) noexcept;

// A band of empty pools.
HardPairBand make_band(std::int64_t first, std::int64_t rows, std::int64_t k);
// Rows of a band that is handed to a sink: few enough to be small beside the buffers.
std::int64_t band_rows_for(std::int64_t k) noexcept;
// Finishes every pool and writes it; the first pool is row `first` of the table.
void write_pools(const Context& context, Pools& pools, std::int64_t first, HardPairSink& sink);

// Exact pools of a list of targets against the whole corpus, in the order of the list. Adds
// targets.size() * corpus.size() to the team's work.
HardPairBand exact_pools(const Context& context, const std::vector<std::int64_t>& targets);

}  // namespace helip::mining
