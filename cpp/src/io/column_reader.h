// Memory-mapped columns of a directory of shards, each column one contiguous range of addresses.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "helip/matrix.h"
#include "io/manifest.h"

namespace helip {

// Mapped ranges and the strings of one shard's keys. Immutable after construction.
class ColumnReader {
 public:
  // Checks the manifest and every shard header; maps lazily.
  ColumnReader(std::filesystem::path directory, const std::string& format);
  ~ColumnReader();
  ColumnReader(const ColumnReader&) = delete;
  ColumnReader& operator=(const ColumnReader&) = delete;

  const std::filesystem::path& directory() const noexcept { return directory_; }
  const Manifest& manifest() const noexcept { return manifest_; }
  std::int64_t rows() const noexcept { return rows_; }
  // Throws corrupt when the column is absent or has another dtype or width than `spec`.
  MatrixView column(const std::string& name) const;
  std::string_view key(std::int64_t row) const;

  // Compares checksums of the columns named, of every byte when empty. `advance(bytes)` is called
  // now and then and may throw to stop.
  void verify(const std::vector<std::string>& columns,
              const std::function<void(std::int64_t)>& advance) const;
  std::int64_t bytes() const;

 private:
  struct Mapping;
  struct Shard;

  void map_shard(std::size_t index);
  void map_column(std::size_t index);

  std::filesystem::path directory_;
  Manifest manifest_;
  std::int64_t rows_ = 0;
  std::vector<Shard> shards_;
  std::vector<Mapping> mappings_;  // one a column
};

// Opens the newest generation, again if a writer replaced it in between.
std::shared_ptr<const ColumnReader> open_columns(const std::filesystem::path& directory,
                                                 const std::string& format);

// Alignment of columns inside a shard, so that pieces of several files form one range.
inline constexpr std::int64_t kColumnAlignment = 4096;

inline constexpr const char* kKeysTensor = "keys";
inline constexpr const char* kKeyOffsetsTensor = "key_offsets";
// Filler between tensors up to the alignment: all zero, "padding.0", "padding.1", ...
inline constexpr std::string_view kPaddingPrefix = "padding.";

}  // namespace helip
