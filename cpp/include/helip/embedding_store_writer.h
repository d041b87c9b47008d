// Writes an EmbeddingStore: image and text embeddings of a data set, with the key of every row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/matrix.h"

namespace helip {

// A matrix beside image and text, such as of audio or of captions in a second language.
struct StoreMatrix {
  std::string name;  // letters, digits, '_' and '-', at most 64; not image or text
  std::int64_t dim = 0;
  bool operator==(const StoreMatrix&) const = default;
};

struct StoreOptions {
  std::int64_t image_dim = 0;
  std::int64_t text_dim = 0;
  DType dtype = DType::float32;      // float32, float16, bfloat16 or int8
  std::int64_t shard_rows = 262144;  // a multiple of 4096
  bool digests = false;              // of the image and the caption that each row was made from
  std::vector<StoreMatrix> matrices = {};
};

// Appends rows. One writer a directory (an advisory lock); not thread-safe. Destroyed without
// commit() it leaves the last committed generation as it was. What was moved from has no rows, and
// its methods throw invalid_argument.
//
// Rows are whole or not there. After an append() or a commit() that failed for the disk or for
// memory the writer is done: Error(io) of every later call, and append_to() goes on from the last
// commit.
class HELIP_EXPORT EmbeddingStoreWriter {
 public:
  // Throws invalid_argument when `path` already holds a store.
  [[nodiscard]] static EmbeddingStoreWriter create(const std::filesystem::path& path,
                                                   const StoreOptions& options);
  // Continues a committed store; its next commit is a new generation.
  [[nodiscard]] static EmbeddingStoreWriter append_to(const std::filesystem::path& path);

  EmbeddingStoreWriter(EmbeddingStoreWriter&&) noexcept;
  EmbeddingStoreWriter& operator=(EmbeddingStoreWriter&&) noexcept;
  ~EmbeddingStoreWriter();

  // `image` [n, d_image], `text` [n, d_text], any float dtype; values are converted to the store's
  // dtype (int8: one scale a row, so the largest magnitude maps to 127). All rows or none are
  // taken. A store with digests wants those of each row, and no other does: see image_digest() and
  // caption_digest(). `matrices`: the rows of StoreOptions::matrices, in their order. Throws
  // invalid_argument (shape, NaN or infinity with its row, duplicate or empty key).
  void append(const std::vector<std::string>& keys, const MatrixView& image, const MatrixView& text,
              std::span<const std::uint64_t> image_digests = {},
              std::span<const std::uint64_t> caption_digests = {},
              const std::vector<MatrixView>& matrices = {});
  // Marks rows, appended ones too, as deleted; returns how many were not before. A row keeps its
  // number, and its key is not free again. Throws invalid_argument for a row or key that is none
  // of the store's; then nothing is marked.
  std::int64_t delete_rows(const std::vector<std::int64_t>& rows);
  std::int64_t delete_keys(const std::vector<std::string>& keys);
  // Publishes what was appended and deleted, durably. `metadata_json` replaces the store's metadata
  // unless empty. Appending may go on afterwards.
  EmbeddingStore commit(const std::string& metadata_json = {});
  // As commit(), for the last time: what gathers rows to come goes first, so that a kill leaves
  // nothing beside the store.
  EmbeddingStore finish(const std::string& metadata_json = {});

  [[nodiscard]] std::int64_t size() const noexcept;  // rows committed and appended
  [[nodiscard]] const StoreOptions& options() const noexcept;

 private:
  struct Impl;
  [[nodiscard]] Impl& usable() const;
  EmbeddingStore publish(const std::string& metadata_json, bool last);
  explicit EmbeddingStoreWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
