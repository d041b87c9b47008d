// One shard of a directory: how tensors lie in it (docs/formats.md), and its writer, row by row, in
// bounded memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "helip/matrix.h"
#include "io/checksum.h"
#include "io/file.h"
#include "io/manifest.h"
#include "io/safetensors.h"

namespace helip {

// Alignment of columns inside a shard, so that pieces of several files form one range.
inline constexpr std::int64_t kColumnAlignment = 4096;
inline constexpr std::int64_t kShardHeaderBytes = kColumnAlignment;

inline constexpr const char* kKeysTensor = "keys";
inline constexpr const char* kKeyOffsetsTensor = "key_offsets";
// Filler between tensors up to the alignment: all zero, "padding.0", "padding.1", ...
inline constexpr std::string_view kPaddingPrefix = "padding.";

std::int64_t round_up(std::int64_t value, std::int64_t unit) noexcept;

// "shard-00007.safetensors"
std::string shard_name(std::int64_t number);
bool is_shard_name(const std::string& name) noexcept;

// Lays tensors one after the other, each at the alignment, with filler tensors between.
class ShardLayout {
 public:
  void add(std::string name, DType dtype, std::vector<std::int64_t> shape, bool align = true);

  const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  std::int64_t end() const noexcept { return end_; }

 private:
  void put(std::string name, DType dtype, std::vector<std::int64_t> shape);

  std::vector<TensorInfo> tensors_;
  std::int64_t end_ = kShardHeaderBytes;
  int fillers_ = 0;
};

// One shard in the making. Columns lie at places for `capacity` rows; a shard that is closed with
// fewer is copied together, so that a full shard costs no second write.
class ShardWriter {
 public:
  ShardWriter(std::filesystem::path directory, const std::vector<ColumnSpec>& columns,
              bool with_keys, std::int64_t capacity);

  std::int64_t rows() const noexcept { return rows_; }
  std::int64_t room() const noexcept { return capacity_ - rows_; }
  // `data[c]` holds n rows of column c, dense. `keys` [n] unless the format has none.
  void append(std::int64_t n, const std::vector<const void*>& data, const std::string* keys);
  // Publishes a file with the rows so far. A shard with room left may go on; a full one is done.
  // After an error of append() or publish() a shard is of no use.
  ShardRecord publish(const std::string& name);

 private:
  std::vector<ColumnSpec> columns_;
  bool with_keys_;
  std::int64_t capacity_;
  std::int64_t rows_ = 0;
  std::filesystem::path directory_;
  PendingFile staging_;
  std::vector<std::int64_t> offsets_;  // of each column in the staging file
  std::vector<Digest> digests_;        // of each column so far
  std::vector<std::uint64_t> key_offsets_{0};
  std::string key_bytes_;
};

}  // namespace helip
