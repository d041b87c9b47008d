// What a SampleIndex holds: rows in memory or mapped, and the shards that they lie in.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "helip/data_fingerprint.h"
#include "helip/progress.h"
#include "helip/sample_index.h"
#include "io/column_reader.h"
#include "io/json.h"
#include "samples/open_files.h"
#include "samples/sample_rows.h"

namespace helip {

struct SampleIndex::State {
  SampleIndexOptions options;
  std::vector<SampleShard> shards;
  SampleCounts counts;
  std::string fingerprint;
  std::int64_t scanned = 0;

  std::int64_t rows = 0;
  const std::int64_t* offsets = nullptr;       // [rows, 4]
  const std::int32_t* sizes = nullptr;         // [rows, 4]
  const std::uint64_t* digests = nullptr;      // [rows, 2]
  samples::SampleRows own;                     // either in memory
  std::shared_ptr<const ColumnReader> reader;  // or mapped
  std::filesystem::path path;                  // of what is mapped
  mutable samples::OpenFiles files;
  mutable std::atomic<bool> prefetched = false;  // will_need() was called

  std::string_view key(std::int64_t row) const;  // throws invalid_argument
  std::int64_t shard_of(std::int64_t row) const;
  // Does not look at the file: where that was cut short, it may be wrong.
  SampleMember member(std::int64_t row, SampleField field) const;  // throws invalid_argument
  // Rows [first, first + count) in memory.
  samples::SampleRows copy(std::int64_t first, std::int64_t count) const;
  // What to do when a shard is no longer what it was.
  std::string remedy() const;

  // Takes rows over, and counts them.
  void take(samples::SampleRows rows);
  // Throws invalid_argument where two rows have one key.
  void check_unique() const;
  // Throws Error(corrupt) where a checksum, the fingerprint or a row of what is mapped is wrong.
  void check(const ProgressCallback& progress) const;

  Json attributes(const std::filesystem::path& root) const;
  // Throws std::exception where they are not those of an index.
  void set_attributes(const Json& attributes, const std::filesystem::path& root);

 private:
  void add_row(std::int64_t row, DataFingerprint& fingerprint) const;
  std::string place_of(std::int64_t row) const;
};

}  // namespace helip
