// The columns of an EmbeddingStore on disk (docs/formats-embedding-store.md).
#pragma once

#include <filesystem>
#include <vector>

#include "helip/embedding_store_writer.h"
#include "io/manifest.h"
#include "table/tombstones.h"

namespace helip {

inline constexpr const char* kStoreFormat = "helip.embedding_store";
inline constexpr const char* kImageColumn = "image";
inline constexpr const char* kTextColumn = "text";
inline constexpr const char* kImageScaleColumn = "image_scale";  // of int8 alone
inline constexpr const char* kTextScaleColumn = "text_scale";
inline constexpr const char* kDeletedAttribute = "deleted";

// Throws invalid_argument.
void check_store_options(const StoreOptions& options);
std::vector<ColumnSpec> store_columns(const StoreOptions& options);
// Of a manifest that was read from `path`. Throws corrupt where its columns are not a store's.
StoreOptions store_options_of(const Manifest& manifest, const std::filesystem::path& path);
// Throws std::exception with what is wrong.
Tombstones tombstones_of(const Manifest& manifest);

}  // namespace helip
