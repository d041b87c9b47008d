// Writes a directory of shards, row by row, in bounded memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "helip/export.h"
#include "io/file.h"
#include "io/manifest.h"
#include "io/shard.h"

namespace helip {

// Not thread-safe. An error of append(), of close(), or of commit() other than invalid_argument, is
// final: every later call is Error(io), and what was committed before stays as it was.
class HELIP_FOR_DATA ColumnWriter {
 public:
  // A new directory, or one that was left before its first commit.
  ColumnWriter(std::filesystem::path directory, Manifest empty, bool with_keys);
  // Continues the committed generation of `directory`.
  ColumnWriter(std::filesystem::path directory, const std::string& format, bool with_keys);
  // A new directory, or one that has a committed generation, which stays until the commit.
  [[nodiscard]] static ColumnWriter replacing(std::filesystem::path directory, Manifest empty,
                                              bool with_keys);
  ~ColumnWriter();
  ColumnWriter(ColumnWriter&&) noexcept;

  void check_usable() const;  // Error(io) of a writer that failed
  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }
  [[nodiscard]] const Manifest& manifest() const noexcept { return manifest_; }
  void append(std::int64_t n, const std::vector<const void*>& data, const std::string* keys);
  // As after an error of append(): of what was appended, some is not what it should be.
  void give_up() noexcept { failed_ = true; }
  // Of a writer that replaces a generation: takes over one of its full shards, whose rows are the
  // next ones, without a copy. Between shards alone.
  void keep(const ShardRecord& shard);
  // Shards first, then the manifest; shards that no generation needs any more are removed last.
  // `finish` may fill in attributes from the shard records. Once the manifest has its name, nothing
  // that it names is removed, whatever fails afterwards.
  void commit(const std::function<void(Manifest&)>& finish);
  // The last commit: nothing is appended afterwards, so the file that gathers rows to come goes
  // first, and a kill cannot leave it beside what was committed.
  void close(const std::function<void(Manifest&)>& finish);
  [[nodiscard]] bool committed() const noexcept { return manifest_.generation > 0; }

 private:
  [[nodiscard]] bool is_named(const std::filesystem::path& shard) const;  // by the manifest
  void append_rows(std::int64_t n, std::vector<const void*> data, const std::string* keys);
  void open_shard();
  void reload_tail();
  void publish(const std::function<void(Manifest&)>& finish, bool last);

  std::filesystem::path directory_;
  std::optional<DirectoryLock> lock_;
  Manifest manifest_;  // as committed, and full shards published since
  bool with_keys_;
  bool owns_ = true;     // false after a move
  bool failed_ = false;  // what lies in the files is not known any more
  std::int64_t rows_ = 0;
  std::int64_t committed_rows_ = 0;
  std::int64_t first_uncommitted_shard_ = 0;
  std::optional<ShardWriter> tail_;
  std::optional<std::filesystem::path> obsolete_tail_;  // committed, and since then grown
  std::vector<std::filesystem::path> replaced_;         // committed, no longer once we commit
  std::set<std::string> kept_;                          // names of those that both have
};

}  // namespace helip
