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

// What a store was, as its later self knows it.
struct EarlierState {
  std::vector<std::int64_t> deleted;   // rows that were deleted then, ascending
  std::vector<std::int64_t> replaced;  // rows of then that have other values now, ascending
};

// One generation of a store. Immutable; cheap to copy (shared state); safe to read from many
// threads. What was moved from is a store of no rows.
class HELIP_EXPORT EmbeddingStore {
 public:
  EmbeddingStore() noexcept;  // of no rows, at no path
  EmbeddingStore(const EmbeddingStore&) noexcept;
  EmbeddingStore(EmbeddingStore&&) noexcept;
  EmbeddingStore& operator=(const EmbeddingStore&) noexcept;
  EmbeddingStore& operator=(EmbeddingStore&&) noexcept;
  ~EmbeddingStore();

  // Checks the manifest and every shard header, maps the rest. Costs neither time nor memory in
  // proportion to the rows. Throws Error: io, corrupt, unsupported.
  [[nodiscard]] static EmbeddingStore open(const std::filesystem::path& path);

  [[nodiscard]] const std::filesystem::path& path() const noexcept;
  [[nodiscard]] std::int64_t size() const noexcept;        // rows N
  [[nodiscard]] std::int64_t generation() const noexcept;  // 1 for the first commit
  [[nodiscard]] MatrixView image()
      const noexcept;  // [N, d_image], one contiguous view across shards
  [[nodiscard]] MatrixView text() const noexcept;  // [N, d_text]
  // "image", "text", and those of StoreOptions::matrices.
  [[nodiscard]] std::vector<std::string> matrix_names() const;
  // One of those, [N, d]. Throws invalid_argument for another name.
  [[nodiscard]] MatrixView matrix(const std::string& name) const;
  [[nodiscard]] std::string_view key(std::int64_t row) const;  // throws invalid_argument; UTF-8
  // Rows that were deleted, ascending. They keep their numbers and their bytes; the views mark
  // them, so that mining takes them for rows of zeros: no pool, and in nobody's pool.
  [[nodiscard]] const std::vector<std::int64_t>& deleted() const noexcept;
  [[nodiscard]] const std::string& fingerprint()
      const noexcept;  // keys, shapes, dtypes, contents, deleted rows
  [[nodiscard]] const std::string& keys_fingerprint() const noexcept;  // keys and their order alone
  // Of the data set whose rows these are, as DataFingerprint::text(); without digests of rows it
  // tells of the keys alone.
  [[nodiscard]] const std::string& data_fingerprint() const noexcept;
  // image_digest() and caption_digest() of what each row was made from, [N]; nullptr where the
  // store has none.
  [[nodiscard]] const std::uint64_t* image_digests() const noexcept;
  [[nodiscard]] const std::uint64_t* caption_digests() const noexcept;
  [[nodiscard]] const std::string& metadata_json() const noexcept;  // the writer's JSON object
  // The state in which this store had `rows` rows and `fingerprint`; nullopt where it never had, or
  // where rows were replaced since a later one. Reads the keys of these rows and at most one shard.
  [[nodiscard]] std::optional<EarlierState> earlier_state(std::int64_t rows,
                                                          const std::string& fingerprint) const;
  // Reads every byte and compares checksums; throws Error(corrupt) at the first damage.
  void verify(const ProgressCallback& progress = {}) const;
  // After reading views: throws Error(corrupt) where a file was cut short or overwritten meanwhile.
  // Costs a call of the system for each file.
  void require_whole() const;

  struct State;

 private:
  explicit EmbeddingStore(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

// DataFingerprint::keys().
[[nodiscard]] HELIP_EXPORT std::string keys_fingerprint(const std::vector<std::string>& keys);

}  // namespace helip
