// Writes one shard, row by row, in bounded memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/checksum.h"
#include "io/file.h"
#include "io/manifest.h"

namespace helip {

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
  // After an error of append() or publish() a shard is of no use but for go_back().
  ShardRecord publish(const std::string& name);

  struct Mark {
    std::int64_t rows = 0;
    std::vector<Digest> digests;
  };
  [[nodiscard]] Mark mark() const { return {rows_, digests_}; }
  // Back to the rows at the mark, also of a full shard that was published as `name`, whose file
  // goes. Error(io) where that cannot be, as after a flush that failed.
  void go_back(Mark mark, const std::string& name);

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
