// Image and text embeddings of a data set, memory-mapped, with the key of every row.
//
// On disk: a directory with manifest.json and shard-*.safetensors (docs/formats.md). The manifest
// is the only commit point; shards are immutable. Any number of processes may read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "helip/export.h"
#include "helip/matrix.h"
#include "helip/progress.h"

namespace helip {

// One generation of a store. Immutable; cheap to copy; safe to read from many threads.
class HELIP_EXPORT EmbeddingStore {
 public:
  // Checks the manifest and every shard header, maps the rest. Costs neither time nor memory in
  // proportion to the rows. Throws Error: io, corrupt, unsupported.
  static EmbeddingStore open(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept;
  std::int64_t size() const noexcept;            // rows N
  std::int64_t generation() const noexcept;      // 1 for the first commit
  MatrixView image() const noexcept;             // [N, d_image], one contiguous view across shards
  MatrixView text() const noexcept;              // [N, d_text]
  std::string_view key(std::int64_t row) const;  // throws invalid_argument; UTF-8
  // Rows that were deleted, ascending. They keep their numbers and their bytes; the views mark
  // them, so that mining takes them for rows of zeros: no pool, and in nobody's pool.
  const std::vector<std::int64_t>& deleted() const noexcept;
  const std::string& fingerprint() const noexcept;  // keys, shapes, dtypes, contents, deleted rows
  const std::string& keys_fingerprint() const noexcept;  // keys and their order alone
  const std::string& metadata_json() const noexcept;     // the writer's JSON object
  // What deleted() was when this store had `rows` rows and `fingerprint`; nullopt where it never
  // had. Reads the keys of these rows and at most one shard.
  std::optional<std::vector<std::int64_t>> deleted_when(std::int64_t rows,
                                                        const std::string& fingerprint) const;
  // Reads every byte and compares checksums; throws Error(corrupt) at the first damage.
  void verify(const ProgressCallback& progress = {}) const;

  struct State;

 private:
  friend class EmbeddingStoreWriter;
  explicit EmbeddingStore(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

struct StoreOptions {
  std::int64_t image_dim = 0;
  std::int64_t text_dim = 0;
  DType dtype = DType::float32;      // float32, float16, bfloat16 or int8
  std::int64_t shard_rows = 262144;  // a multiple of 4096
};

// Appends rows. One writer a directory (an advisory lock); not thread-safe. Destroyed without
// commit() it leaves the last committed generation as it was.
class HELIP_EXPORT EmbeddingStoreWriter {
 public:
  // Throws invalid_argument when `path` already holds a store.
  static EmbeddingStoreWriter create(const std::filesystem::path& path,
                                     const StoreOptions& options);
  // Continues a committed store; its next commit is a new generation.
  static EmbeddingStoreWriter append_to(const std::filesystem::path& path);

  EmbeddingStoreWriter(EmbeddingStoreWriter&&) noexcept;
  EmbeddingStoreWriter& operator=(EmbeddingStoreWriter&&) noexcept;
  ~EmbeddingStoreWriter();

  // `image` [n, d_image], `text` [n, d_text], any float dtype; values are converted to the store's
  // dtype (int8: one scale a row, so the largest magnitude maps to 127). All rows or none are
  // taken. Throws invalid_argument (shape, NaN or infinity with its row, duplicate or empty key).
  void append(const std::vector<std::string>& keys, const MatrixView& image,
              const MatrixView& text);
  // Marks rows, appended ones too, as deleted; returns how many were not before. A row keeps its
  // number, and its key is not free again. Throws invalid_argument for a row or key that is none
  // of the store's; then nothing is marked.
  std::int64_t delete_rows(const std::vector<std::int64_t>& rows);
  std::int64_t delete_keys(const std::vector<std::string>& keys);
  // Publishes what was appended and deleted, durably. `metadata_json` replaces the store's metadata
  // unless empty. Appending may go on afterwards.
  EmbeddingStore commit(const std::string& metadata_json = {});

  std::int64_t size() const noexcept;  // rows committed and appended
  const StoreOptions& options() const noexcept;

 private:
  struct Impl;
  explicit EmbeddingStoreWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// XXH3-128 over (length as little-endian uint64, UTF-8 bytes) of each key in order, in hex.
// The fingerprint of a data set is this digest, so a table and a data set can be compared.
HELIP_EXPORT std::string keys_fingerprint(const std::vector<std::string>& keys);

}  // namespace helip
