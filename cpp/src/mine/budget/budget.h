// What a job may take of the machine, where that lies which does not fit, and how large the methods
// make what they work with: for them, and for what they are planned to cost.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/team.h"
#include "helip/mine_options.h"
#include "mine/bound/filter_plan.h"
#include "mine/corpus/corpus.h"
#include "mine/graph/product_graph.h"

namespace helip::mining {

// sample: options.candidates, or its default.
std::int64_t sample_candidates(const MineOptions& options, std::int64_t rows) noexcept;

inline constexpr GraphOptions kHnswGraph{32, 80};
inline constexpr std::int64_t kHnswWidest = 2048;  // where widening ends, for usual k
std::int64_t hnsw_first_breadth(std::int64_t kept) noexcept;
// Beyond this a search costs more than scoring every row does.
std::int64_t hnsw_last_breadth(std::int64_t kept) noexcept;
// What the graph of all rows takes.
std::int64_t hnsw_bytes(const Corpus& corpus) noexcept;

inline constexpr std::int64_t kPartitionNear = 16;  // clusters that each is compared with at first
inline constexpr std::int64_t kNeighbours = 32;  // of a row, whose neighbours it is compared with
inline constexpr double kMostToCompare = 0.25;   // share of all pairs; beyond, exact is quicker
// Rows that the first threshold of a row comes from, about.
std::int64_t partition_seeds(std::int64_t kept) noexcept;
// Of all pairs those that are compared in the first round, about: of two clusters each may choose
// the other, or only one of them does. Larger pools take more clusters.
double partition_share(std::int64_t rows, std::int64_t kept) noexcept;
// Whether clusters may find enough, and a sample show it, before exact mining would be quicker.
bool partition_pays(std::int64_t rows, std::int64_t kept, double recall);

// What each of these threads notes of all rows, to look at each once.
std::int64_t bytes_of_notes(std::int64_t rows, int threads) noexcept;
// What pools of `kept` pairs of all rows take, their neighbours, and the notes of the threads:
// codes leave room for them.
std::int64_t bytes_without_codes(const Corpus& corpus, std::int64_t kept, int threads) noexcept;

// What the filters of a method are chosen for: see choose_filters().
struct FilterChoice {
  std::int64_t k;
  Comparison comparison;
};
FilterChoice filter_choice(std::int64_t rows, const MineOptions& options);
// The filters that a method's pairs go through.
FilterPlan choose_filters_for(const Corpus& corpus, const MineOptions& options, Team& team);

// options.memory, or a quarter of the physical memory.
std::int64_t memory_budget(const MineOptions& options) noexcept;

// Where codes and pools go that do not fit into memory: beside the table, or where temporary files
// go.
std::filesystem::path scratch_folder(const std::filesystem::path& out);

}  // namespace helip::mining
