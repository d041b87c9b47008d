// The file of hnswlib 0.8, so that services that speak it can serve an index of pairs, and theirs
// can be opened here. docs/pair-index.md has what is written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "helip/pair_index.h"
#include "helip/progress.h"
#include "io/column_reader.h"
#include "mine/graph/graph.h"
#include "mine/graph/index_file.h"
#include "mine/graph/pair_codes.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

struct UpperLayer {
  std::vector<std::vector<std::uint32_t>> links;  // of each start of the graph, nodes
  std::uint32_t entry = 0;                        // that the others are most like on average
};

// `degree`: most links of a start. Compares every two starts.
UpperLayer upper_layer(const Graph& graph, const PairCodeView& rows, std::int64_t degree);

// What such a file holds, in memory. Options: degree and breadth are the file's.
struct HnswlibFile {
  PairIndexOptions options;
  IndexRows rows;
  Graph graph;
};

// A new file of the space `ip`: float32 vectors [u; v] / √2 of both unit vectors, whose inner
// product is the mean of the two cosines. Stage "save". `mapped`: see save_index. Throws Error:
// invalid_argument (something is there), io, corrupt, cancelled.
void save_hnswlib(const std::filesystem::path& path, const PairIndexOptions& options,
                  const IndexRows& rows, const Graph& graph, const ColumnReader* mapped,
                  const ProgressCallback& progress);
// Stage "read". Throws Error: invalid_argument (vectors that are not of pairs), io,
// corrupt, unsupported (deleted elements, more links than an index has), cancelled.
HnswlibFile open_hnswlib(const std::filesystem::path& path, std::int64_t image_dimensions,
                         const PairIndexOptions& options, int threads, const Kernel& kernel,
                         const ProgressCallback& progress);

}  // namespace helip::mining
