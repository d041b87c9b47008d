// An exact job whose pairs of rows are shared out: every pair is compared by one process, and what
// it finds counts for both rows. A share compares the rows of a range among themselves, or with
// those of the ranges that follow in a ring. The pools of all shares, united, are those of the job.
#pragma once

#include <cstdint>
#include <filesystem>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/mine_options.h"
#include "helip/progress.h"

namespace helip {

// What one process does. All of `within` come before the first of `across`, whose thresholds they
// give.
struct Share {
  std::int64_t index = 1;  // 1 .. count
  std::int64_t count = 1;
  enum Step { within, across } step = within;
};

// Each takes the folder of the job, which all processes see, and the options of the table: method
// exact, or automatic, which is exact then. Throws Error: mismatch (another job's, with what
// differs), unsupported (another method), corrupt, invalid_argument, io, cancelled, out_of_memory.

// Which rows each range has, and the codes of all, where they are kept. Before any share.
HELIP_EXPORT void prepare_shares(const EmbeddingStore& store, std::int64_t count,
                                 const MineOptions& options, const std::filesystem::path& folder,
                                 const ProgressCallback& progress = {});
// A share that is there already is not done again.
HELIP_EXPORT void mine_share(const EmbeddingStore& store, const Share& share,
                             const MineOptions& options, const std::filesystem::path& folder,
                             const ProgressCallback& progress = {});
// Writes the table of all shares to the new directory `out`, the same bytes as mine() does, and
// removes the folder.
[[nodiscard]] HELIP_EXPORT HardPairs merge_shares(const EmbeddingStore& store, std::int64_t count,
                                                  const MineOptions& options,
                                                  const std::filesystem::path& folder,
                                                  const std::filesystem::path& out,
                                                  const ProgressCallback& progress = {});

}  // namespace helip
