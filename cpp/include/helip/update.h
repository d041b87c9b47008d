// Brings a table of hard pairs up to date with a store that has grown, or lost rows, since.
#pragma once

#include <cstdint>
#include <filesystem>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/progress.h"

namespace helip {

struct UpdateOptions {
  int threads = 0;          // 0: all cores
  std::int64_t memory = 0;  // bytes for buffers; 0: a quarter of what the machine gives (machine.h)
};

// The table that mine() gives for `store` with the options of `pairs`: the same ids, scores and
// counts, at a cost in proportion to what changed. `pairs` was mined exactly from an earlier state
// of `store`: rows were appended to it, or deleted, since.
//
// New rows are compared with every row; old ones with the new rows alone, unless a full pool of
// theirs lost a row (docs/update.md). With `skip` or `collapse`, and where more than half of the
// rows would meet every row, the store is mined afresh; the report's "update" says so. A table that
// is up to date is returned as it is.
//
// `out` empty: in memory; else a new directory, or that of `pairs`, whose table is then replaced in
// one step. A table at `out` that is up to date already is returned.
//
// Throws Error: mismatch (the store is no later state of the one that was mined), unsupported (the
// table was not mined exactly), invalid_argument (`out` holds something else), io, cancelled,
// out_of_memory. The result does not depend on the options.
HELIP_EXPORT HardPairs update(const HardPairs& pairs, const EmbeddingStore& store,
                              const UpdateOptions& options = {},
                              const ProgressCallback& progress = {},
                              const std::filesystem::path& out = {});

}  // namespace helip
