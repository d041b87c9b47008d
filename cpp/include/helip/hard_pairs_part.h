// A part of a table of hard pairs: the pools of a contiguous range of targets, in a directory of
// its own. merge_parts() (helip/parts.h) makes the table of all parts of a job.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/matrix.h"

namespace helip {

// The index-th of `count` contiguous ranges of `rows` targets, as even as can be.
struct PartRange {
  std::int64_t index = 1;  // 1 .. count
  std::int64_t count = 1;
  std::int64_t rows = 0;  // of the whole table

  std::int64_t first() const noexcept { return begin_of(index - 1); }
  std::int64_t last() const noexcept { return begin_of(index); }  // one past the end
  std::int64_t size() const noexcept { return last() - first(); }
  bool operator==(const PartRange&) const = default;

 private:
  std::int64_t begin_of(std::int64_t part) const noexcept {
    const std::int64_t longer = rows % count;  // so many parts have one target more
    return rows / count * part + (part < longer ? part : longer);
  }
};

// Immutable; cheap to copy (shared state); safe to read from many threads.
class HELIP_EXPORT HardPairsPart {
 public:
  // Checks the manifest and the headers, and reads nothing else. Throws Error: io (absent),
  // corrupt, unsupported, mismatch (something else lies there).
  static HardPairsPart open(const std::filesystem::path& path);
  // Reads every byte: checksums, and the rules of a table's rows. Throws Error(corrupt).
  void verify() const;

  const std::filesystem::path& path() const noexcept;
  const PartRange& range() const noexcept;
  std::int64_t k() const noexcept;
  // Row i belongs to target range().first() + i; ids are rows of the whole data set.
  MatrixView ids() const noexcept;     // int32 [range().size(), k], int64 from 2^31 rows
  MatrixView scores() const noexcept;  // float32 [range().size(), k]
  MatrixView counts() const noexcept;  // int32 [range().size(), 1]
  const HardPairs::Origin& origin() const noexcept;
  // Targets [first, first + rows) of the whole table, as a miner hands them over.
  HardPairBand band(std::int64_t first, std::int64_t rows) const;

  struct State;

 private:
  explicit HardPairsPart(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

// Streams the bands of a part to a new directory. Not thread-safe; owns the directory while it
// lives. A writer destroyed before finish() publishes nothing.
class HELIP_EXPORT HardPairsPartWriter final : public HardPairSink {
 public:
  HardPairsPartWriter(std::filesystem::path path, const PartRange& range, std::int64_t k);
  ~HardPairsPartWriter() override;
  HardPairsPartWriter(const HardPairsPartWriter&) = delete;
  HardPairsPartWriter& operator=(const HardPairsPartWriter&) = delete;

  // Bands count targets of the whole table: the first one starts at range.first().
  void write(const HardPairBand& band) override;
  // Publishes. Throws invalid_argument when targets are missing.
  HardPairsPart finish(const HardPairs::Origin& origin);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
