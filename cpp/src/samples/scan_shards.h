// Many shards at once, each read by one thread.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "helip/progress.h"
#include "samples/shard_scan.h"

namespace helip::samples {

// Scans shards in parallel; scan i is of paths[i]. Where several fail, the error is that of the
// first one of them, on any number of threads.
std::vector<ShardScan> scan_shards(const std::vector<std::filesystem::path>& paths,
                                   const FieldNames& names, bool contents, int threads,
                                   const std::string& stage, const ProgressCallback& progress);

}  // namespace helip::samples
