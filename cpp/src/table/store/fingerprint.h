// Digests that name the content of a store (docs/formats.md).
#pragma once

#include <cstdint>
#include <string>

#include "io/column_reader.h"
#include "io/manifest.h"

namespace helip {

// Over keys, shapes, dtypes and contents: of the columns and shards of a manifest.
std::string content_fingerprint(const Manifest& manifest, const std::string& keys_fingerprint);

// The same of the first `rows` rows, as a store of these alone has it. Reads their keys, and their
// part of one shard.
std::string content_fingerprint(const ColumnReader& reader, std::int64_t rows);

// Of a store some of whose rows are deleted; `deleted_digest` see Tombstones.
std::string fingerprint_without(const std::string& content_fingerprint,
                                const std::string& deleted_digest);

}  // namespace helip
