// The columns of an EmbeddingStore on disk (docs/formats.md).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "helip/data_fingerprint.h"
#include "helip/embedding_store_writer.h"
#include "io/json.h"
#include "io/manifest.h"
#include "table/store/tombstones.h"

namespace helip {

inline constexpr const char* kStoreFormat = "helip.embedding_store";
inline constexpr const char* kImageColumn = "image";
inline constexpr const char* kTextColumn = "text";
inline constexpr const char* kImageScaleColumn = "image_scale";  // of int8 alone
inline constexpr const char* kTextScaleColumn = "text_scale";
inline constexpr const char* kImageDigestColumn = "image_digest";  // where it has digests
inline constexpr const char* kCaptionDigestColumn = "caption_digest";
inline constexpr const char* kDeletedAttribute = "deleted";
inline constexpr const char* kReplacedAttribute = "replaced";

// Of a matrix beside image and text, and of its scales.
std::string column_of(const StoreMatrix& matrix);
std::string scale_column_of(const StoreMatrix& matrix);

// Throws invalid_argument.
void check_store_options(const StoreOptions& options);
std::vector<ColumnSpec> store_columns(const StoreOptions& options);
// Fills in what a commit says: fingerprints, metadata, deleted rows, `replaced`.
void describe_store(Manifest& manifest, const DataFingerprint& data, const Json& metadata,
                    const Tombstones& tombstones, const Json& replaced);
// Of a manifest that was read from `path`. Throws corrupt where its columns are not a store's.
StoreOptions store_options_of(const Manifest& manifest, const std::filesystem::path& path);
// A commit that gave rows other values.
struct Replacement {
  std::string fingerprint;  // of the store before it
  std::int64_t rows = 0;    // before it
  std::size_t deleted_batches = 0;
  std::string replaced;  // a text of ranges of rows, none of those that it appended
};

// In order of the commits. Throws std::exception with what is wrong.
std::vector<Replacement> replacements_of(const Manifest& manifest);
Json to_json(const Replacement& replacement);
// Throws std::exception with what is wrong.
Tombstones tombstones_of(const Manifest& manifest);

}  // namespace helip
