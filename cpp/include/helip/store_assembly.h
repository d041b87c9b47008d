// Puts a store together from rows of others, byte for byte: of parts that were embedded side by
// side, and of a store some of whose rows were embedded again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/progress.h"

namespace helip {

// Rows [first, last) of one of several stores.
struct StoreRun {
  std::size_t source = 0;
  std::int64_t first = 0;
  std::int64_t last = 0;
};

// The store at `path` of the rows of `runs`, one after the other, with their keys, values and
// digests. Sources have the same widths and dtype, and all of them digests, or none. `path` is new,
// or holds a store, which the new one then replaces in one step: its full shards that stay as they
// are stay where they are. Where its rows keep their numbers, its deleted rows stay deleted, and
// update() can bring tables of it up to date; otherwise a store with deleted rows is refused.
// Progress counts rows.
// Throws Error: invalid_argument (no source, a run outside of its source, a key twice, deleted rows
// that would come back), mismatch (sources that do not go together), io, cancelled.
HELIP_EXPORT EmbeddingStore assemble_store(const std::filesystem::path& path,
                                           const std::vector<EmbeddingStore>& sources,
                                           const std::vector<StoreRun>& runs,
                                           std::int64_t shard_rows,
                                           const std::string& metadata_json = "{}",
                                           const ProgressCallback& progress = {});

}  // namespace helip
