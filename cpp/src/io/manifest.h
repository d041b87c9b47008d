// manifest.json: the only commit point of a directory of shards (docs/formats.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "helip/matrix.h"
#include "io/json.h"

namespace helip {

// A fixed-width column: [rows, cols] of one dtype, row-major; [rows] when cols is 0.
struct ColumnSpec {
  std::string name;
  DType dtype = DType::float32;
  std::int64_t cols = 0;

  std::int64_t width() const { return cols == 0 ? 1 : cols; }
  std::int64_t row_bytes() const { return width() * size_of(dtype); }
  std::vector<std::int64_t> shape(std::int64_t rows) const {
    return cols == 0 ? std::vector{rows} : std::vector{rows, cols};
  }
  bool operator==(const ColumnSpec&) const = default;
};

struct ShardRecord {
  std::string file;  // a plain name inside the directory
  std::int64_t rows = 0;
  std::int64_t bytes = 0;
  std::string header_digest;                   // of the safetensors header
  std::map<std::string, std::string> digests;  // of every tensor, by name
};

struct Manifest {
  std::string format;  // "helip.embedding_store", "helip.hard_pairs"
  std::int64_t generation = 0;
  std::int64_t shard_rows = 0;        // rows of every shard but the last
  std::int64_t next_shard = 0;        // number of the next file; numbers are never used twice
  std::vector<std::string> features;  // that a reader must know
  std::vector<ColumnSpec> columns;
  std::vector<ShardRecord> shards;
  Json attributes = Json::object();

  [[nodiscard]] std::int64_t rows() const;
};

inline constexpr const char* kManifestName = "manifest.json";
inline constexpr std::int64_t kManifestVersion = 1;
// The largest generation, number of a next shard, and number of rows or of bytes of a shard.
inline constexpr std::int64_t kMostCount = std::int64_t{1} << 62;
// The feature of a store some of whose rows are deleted: who does not know it would mine them.
inline constexpr const char* kDeletedRows = "deleted_rows";
// The feature of hard negatives, whose ids number the rows of a corpus: who does not know it would
// take them for rows of the queries.
inline constexpr const char* kCorpus = "corpus";
// The feature of a store with matrices beside image and text: who does not know it would lose them.
inline constexpr const char* kMatrices = "matrices";

// Parses user JSON that must be an object; throws invalid_argument naming `what`.
[[nodiscard]] Json parse_json_object(const std::string& text, const std::string& what);

// Whether something was committed to a directory. Throws Error(io).
[[nodiscard]] bool has_manifest(const std::filesystem::path& directory);
// Throws Error: io (absent), corrupt (damaged), mismatch (another format), unsupported (newer).
[[nodiscard]] Manifest read_manifest(const std::filesystem::path& directory,
                                     const std::string& format);
// Replaces the manifest atomically and durably: this is the commit. Throws Error: io, and
// invalid_argument where it would be too long to be read.
void write_manifest(const std::filesystem::path& directory, const Manifest& manifest);
// The commit alone, for who must know whether it took place: where it throws, it did not. A crash
// may undo it until sync_directory(), so until then nothing may go that the former manifest names.
void replace_manifest(const std::filesystem::path& directory, const Manifest& manifest);

}  // namespace helip
