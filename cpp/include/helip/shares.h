// A job of method exact or partition whose work is shared out: what a process finds of a pair of
// rows counts for both. The table has the bytes of a single run. A job has steps, whose shares are
// mined in any order, anywhere:
//
//     std::int64_t step = prepare_shares(store, count, options, folder);
//     std::optional<HardPairs> table;
//     while (!table) {
//       for (std::int64_t index = 1; index <= count; ++index)
//         mine_share(store, {index, count, step}, options, folder);
//       table = merge_shares(store, count, step++, options, folder, out);
//     }
//
// Method exact has two: the rows of each range among themselves, then with those of the ranges that
// follow in a ring. Method partition has as many as its recall asks for, each of them some clusters
// or rows with what they are compared with.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/mine_options.h"
#include "helip/progress.h"

namespace helip {

// What one process does of a step.
struct Share {
  std::int64_t index = 1;  // 1 .. count
  std::int64_t count = 1;
  std::int64_t step = 0;
};

// Each takes the folder of the job, which all processes see, and the options of the table; method
// automatic means exact. Throws Error: mismatch (another job's or step's, with what differs),
// unsupported (another method), corrupt, invalid_argument, io, cancelled, out_of_memory.

// What all shares begin with: the order of the rows, and their codes, where these are kept. Returns
// the step that is to be mined, which is not the first where an earlier process has merged some.
[[nodiscard]] HELIP_EXPORT std::int64_t prepare_shares(const EmbeddingStore& store,
                                                       std::int64_t count,
                                                       const MineOptions& options,
                                                       const std::filesystem::path& folder,
                                                       const ProgressCallback& progress = {});
// A share that is there already is not done again.
HELIP_EXPORT void mine_share(const EmbeddingStore& store, const Share& share,
                             const MineOptions& options, const std::filesystem::path& folder,
                             const ProgressCallback& progress = {});
// Unites all shares of a step. Writes the table to the new directory `out` and removes the folder,
// or returns nothing: then the next step is to be mined.
[[nodiscard]] HELIP_EXPORT std::optional<HardPairs> merge_shares(
    const EmbeddingStore& store, std::int64_t count, std::int64_t step, const MineOptions& options,
    const std::filesystem::path& folder, const std::filesystem::path& out,
    const ProgressCallback& progress = {});

}  // namespace helip
