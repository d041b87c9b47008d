// An index of pairs on disk (docs/pair-index.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>

#include "helip/pair_index.h"
#include "helip/progress.h"
#include "io/column_reader.h"
#include "mine/graph/graph.h"
#include "mine/graph/index_rows.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

// Most pairs of an index: nodes have 32 bits.
inline constexpr std::int64_t kMostPairs = 0xfffffffe;

// What lies in the directory of an index, mapped by `reader`.
struct IndexFile {
  std::shared_ptr<const ColumnReader> reader;
  PairIndexOptions options;
  IndexRows rows;
  Graph graph;
};

// Compares every checksum, in stage "open", and refuses what an index cannot be. Throws Error: io,
// corrupt, mismatch, unsupported, cancelled.
IndexFile open_index(const std::filesystem::path& path, const Kernel& kernel,
                     const ProgressCallback& progress);
// A new directory, all or nothing, in stage "save". `mapped`: whose files rows and links lie in,
// nullptr where they are in memory. Throws Error: invalid_argument (something is there), io,
// corrupt (such a file was cut short meanwhile), cancelled.
void save_index(const std::filesystem::path& path, const PairIndexOptions& options,
                const IndexRows& rows, const Graph& graph, const ColumnReader* mapped,
                const ProgressCallback& progress);

}  // namespace helip::mining
