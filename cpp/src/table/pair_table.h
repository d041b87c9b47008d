// The hard pairs of a range of targets, in memory or mapped: what HardPairs and HardPairsPart are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "helip/hard_pairs.h"
#include "helip/hard_pairs_part.h"
#include "helip/matrix.h"
#include "helip/progress.h"
#include "io/column_reader.h"

namespace helip {

enum class PairTableKind { whole, part, negatives };

const char* format_of(PairTableKind kind) noexcept;  // in the manifest

struct PairTable {
  PairTableKind kind = PairTableKind::whole;
  PartRange range;           // of the targets; part 1 of 1 for a whole table
  std::int64_t id_rows = 0;  // that ids number
  bool of_queries = false;   // ids number the rows of a corpus, not the targets
  MatrixView ids;
  MatrixView scores;
  MatrixView counts;
  HardPairs::Origin origin;

  std::filesystem::path path;
  std::shared_ptr<const ColumnReader> reader;  // of what is mapped, or
  std::vector<std::int32_t> own_ids32;         // of what is in memory
  std::vector<std::int64_t> own_ids64;
  std::vector<float> own_scores;
  std::vector<std::int32_t> own_counts;

  // Checks the manifest and the headers, and reads nothing else. Throws Error: io, corrupt,
  // mismatch, unsupported.
  static std::shared_ptr<PairTable> open(const std::filesystem::path& path, PairTableKind kind);
  // In memory, no target with a pair. `corpus_rows`: that ids number, where they do not number the
  // targets. Throws Error(out_of_memory).
  static std::shared_ptr<PairTable> empty(std::int64_t rows, std::int64_t k,
                                          std::optional<std::int64_t> corpus_rows = {});

  // Of a table in memory: row i, of k places.
  void put(std::int64_t i, const std::int64_t* row_ids, const float* row_scores,
           std::int32_t count) noexcept;

  // Ids and counts: their checksums, and that they are rows and places of this table. Throws Error:
  // corrupt, cancelled.
  void check_ids(const ProgressCallback& progress) const;
  // A whole table, as HardPairs::save().
  void save(const std::filesystem::path& path, const ProgressCallback& progress) const;
  // Every byte, and every rule. Throws Error: corrupt, cancelled.
  void verify(const ProgressCallback& progress) const;
  // Throws Error(corrupt) where a file became shorter while it was read (helip/mapped_files.h).
  void require_whole() const {
    if (reader) reader->require_whole();
  }

  [[noreturn]] void damaged(const std::string& what) const;
};

}  // namespace helip
