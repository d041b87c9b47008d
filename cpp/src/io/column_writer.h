// Writes a directory of shards, row by row, in bounded memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "helip/matrix.h"
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

class ColumnWriter {
 public:
  // A new directory, or one that was left before its first commit.
  ColumnWriter(std::filesystem::path directory, Manifest empty, bool with_keys);
  // Continues the committed generation of `directory`.
  ColumnWriter(std::filesystem::path directory, const std::string& format, bool with_keys);
  // Begins anew in a directory that has a committed generation, which stays until the commit.
  static ColumnWriter replacing(std::filesystem::path directory, Manifest empty, bool with_keys);
  ~ColumnWriter();
  ColumnWriter(ColumnWriter&&) noexcept;

  std::int64_t rows() const noexcept { return rows_; }
  const Manifest& manifest() const noexcept { return manifest_; }
  void append(std::int64_t n, const std::vector<const void*>& data, const std::string* keys);
  // Shards first, then the manifest; shards that no generation needs any more are removed last.
  // `finish` may fill in attributes from the shard records.
  void commit(const std::function<void(Manifest&)>& finish);
  // The last commit: nothing is appended afterwards, so the file that gathers rows to come goes
  // first, and a kill cannot leave it beside what was committed.
  void close(const std::function<void(Manifest&)>& finish);
  bool committed() const noexcept { return manifest_.generation > 0; }

 private:
  void open_shard();
  void reload_tail();
  void publish(const std::function<void(Manifest&)>& finish, bool last);

  std::filesystem::path directory_;
  std::optional<DirectoryLock> lock_;
  Manifest manifest_;  // as committed, and full shards published since
  bool with_keys_;
  bool owns_ = true;  // false after a move
  std::int64_t rows_ = 0;
  std::int64_t committed_rows_ = 0;
  std::int64_t first_uncommitted_shard_ = 0;
  std::optional<ShardWriter> tail_;
  std::optional<std::filesystem::path> obsolete_tail_;  // committed, and since then grown
  std::vector<std::filesystem::path> replaced_;         // committed, no longer once we commit
};

}  // namespace helip
