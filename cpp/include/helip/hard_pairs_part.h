// A part of a table of hard pairs: the pools of a contiguous range of targets, in a directory of
// its own. merge_parts() (helip/parts.h) makes the table of all parts of a job.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "helip/export.h"
#include "helip/hard_pair_band.h"
#include "helip/hard_pairs.h"
#include "helip/matrix.h"

namespace helip {

// The index-th of `count` contiguous ranges of `rows` targets, as even as can be.
struct PartRange {
  std::int64_t index = 1;  // 1 .. count
  std::int64_t count = 1;
  std::int64_t rows = 0;  // of the whole table

  [[nodiscard]] std::int64_t first() const noexcept { return begin_of(index - 1); }
  [[nodiscard]] std::int64_t last() const noexcept { return begin_of(index); }  // one past the end
  [[nodiscard]] std::int64_t size() const noexcept { return last() - first(); }
  bool operator==(const PartRange&) const = default;

 private:
  [[nodiscard]] std::int64_t begin_of(std::int64_t part) const noexcept {
    const std::int64_t longer = rows % count;  // so many parts have one target more
    return rows / count * part + (part < longer ? part : longer);
  }
};

// Immutable; cheap to copy (shared state); safe to read from many threads. What was moved from is a
// part without targets.
class HELIP_EXPORT HardPairsPart {
 public:
  HardPairsPart() noexcept;  // without targets, at no path
  HardPairsPart(const HardPairsPart&) noexcept;
  HardPairsPart(HardPairsPart&&) noexcept;
  HardPairsPart& operator=(const HardPairsPart&) noexcept;
  HardPairsPart& operator=(HardPairsPart&&) noexcept;
  ~HardPairsPart();

  // Checks the manifest and the headers, and reads nothing else. Throws Error: io (absent),
  // corrupt, unsupported, mismatch (something else lies there).
  [[nodiscard]] static HardPairsPart open(const std::filesystem::path& path);
  // Reads every byte: checksums, and the rules of a table's rows. Throws Error: corrupt, cancelled.
  void verify(const ProgressCallback& progress = {}) const;

  [[nodiscard]] const std::filesystem::path& path() const noexcept;
  [[nodiscard]] const PartRange& range() const noexcept;
  [[nodiscard]] std::int64_t k() const noexcept;
  // The rows of the corpus that ids number, of a part of hard negatives; -1: of hard pairs.
  [[nodiscard]] std::int64_t corpus_size() const noexcept;
  // Row i belongs to target range().first() + i; ids are rows of the whole data set.
  [[nodiscard]] MatrixView ids() const noexcept;  // int32 [range().size(), k], int64 from 2^31 rows
  [[nodiscard]] MatrixView scores() const noexcept;  // float32 [range().size(), k]
  [[nodiscard]] MatrixView counts() const noexcept;  // int32 [range().size(), 1]
  [[nodiscard]] const HardPairs::Origin& origin() const noexcept;
  // Targets [first, first + rows) of the whole table, as a miner hands them over. Throws
  // invalid_argument where they are not all of this part.
  [[nodiscard]] HardPairBand band(std::int64_t first, std::int64_t rows) const;

 private:
  friend class HardPairsPartWriter;
  explicit HardPairsPart(std::shared_ptr<const PairTable> table) noexcept;
  std::shared_ptr<const PairTable> table_;  // never null
};

}  // namespace helip
