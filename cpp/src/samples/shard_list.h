// The list of an index's shards as JSON (docs/formats.md).
#pragma once

#include <filesystem>
#include <vector>

#include "helip/sample_index.h"
#include "io/json.h"

namespace helip::samples {

// The deepest folder that all shards lie below.
std::filesystem::path common_root(const std::vector<SampleShard>& shards);

// With paths relative to `root`. Throws invalid_argument where one is not UTF-8.
Json to_json(const std::vector<SampleShard>& shards, const std::filesystem::path& root);

// Throws std::exception where the list is none, or a path leads out of `root`.
std::vector<SampleShard> shards_from_json(const Json& list, const std::filesystem::path& root);

}  // namespace helip::samples
