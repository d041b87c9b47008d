// Hard pair mining (HPM, arXiv 2305.05208): for every target i the k pairs j of largest
//     score(i, j) = s̃ᴵ(i, j) · s̃ᵀ(i, j),
// where s̃ is the cosine similarity of one modality, set to zero for j = i, for near duplicates
// (s > image_max, s > text_max) and for s < 0. Pairs with score > min_score count, ordered by
// (score descending, j ascending); min_score = 0 keeps every positive score.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "helip/dropped_pairs.h"
#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/matrix.h"
#include "helip/mine_options.h"  // IWYU pragma: export
#include "helip/plan.h"          // IWYU pragma: export
#include "helip/progress.h"

namespace helip {

// Throws Error: invalid_argument (options, shapes, NaN or infinity with its row), cancelled,
// out_of_memory (also: the graph of method hnsw is larger than `memory`). `out` empty: the table is
// kept in memory, else it is streamed to a new directory. The result depends on the input and the
// options alone, never on `threads` or `memory`; only the choice that `automatic` makes above
// 300,000 rows asks for the machine's speed. `dropped`: gets what the rules kept out, of methods
// exact and partition; it takes memory beside what `memory` bounds.
HELIP_EXPORT HardPairs mine(const MatrixView& image, const MatrixView& text,
                            const MineOptions& options, const ProgressCallback& progress = {},
                            const std::filesystem::path& out = {}, DroppedPairs* dropped = nullptr);
HELIP_EXPORT HardPairs mine(const EmbeddingStore& store, const MineOptions& options,
                            const ProgressCallback& progress = {},
                            const std::filesystem::path& out = {});

// Pairs by any number of channels, helip/mine_options.h: the matrices of options.channels, of as
// many rows each. Methods exact, partition and sample. Throws as mine() does.
HELIP_EXPORT HardPairs mine_channels(const std::vector<MatrixView>& channels,
                                     const MineOptions& options,
                                     const ProgressCallback& progress = {},
                                     const std::filesystem::path& out = {});

// Looks at a sample of the rows, and measures for about a tenth of a second. Throws Error:
// invalid_argument, cancelled, out_of_memory.
[[nodiscard]] HELIP_EXPORT MinePlan plan(const MatrixView& image, const MatrixView& text,
                                         const MineOptions& options,
                                         const ProgressCallback& progress = {});
[[nodiscard]] HELIP_EXPORT MinePlan plan_channels(const std::vector<MatrixView>& channels,
                                                  const MineOptions& options,
                                                  const ProgressCallback& progress = {});
[[nodiscard]] HELIP_EXPORT MinePlan plan(const EmbeddingStore& store, const MineOptions& options,
                                         const ProgressCallback& progress = {});

// Exact float64 scores of given candidates, then top-k: the last step of every method, also of
// those outside this library (a GPU). `candidates` int64 [n, c], -1 for none, duplicates allowed;
// row r belongs to target targets[r]. Returns one band with first = 0 and n rows. `dropped`: gets
// what the rules kept out.
[[nodiscard]] HELIP_EXPORT HardPairBand rerank(const MatrixView& image, const MatrixView& text,
                                               const std::vector<std::int64_t>& targets,
                                               const MatrixView& candidates,
                                               const MineOptions& options,
                                               const ProgressCallback& progress = {},
                                               DroppedPairs* dropped = nullptr);

// Exact pools of the given targets alone. Same rules as mine().
[[nodiscard]] HELIP_EXPORT HardPairBand mine_targets(const MatrixView& image,
                                                     const MatrixView& text,
                                                     const std::vector<std::int64_t>& targets,
                                                     const MineOptions& options,
                                                     const ProgressCallback& progress = {});

}  // namespace helip
