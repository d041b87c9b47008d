// The table of hard negatives: for each query, up to k rows of a corpus in order of falling score.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "helip/export.h"
#include "helip/hard_pair_band.h"
#include "helip/hard_pairs.h"
#include "helip/matrix.h"
#include "helip/progress.h"

namespace helip {

class PairTableWriter;

// Immutable; cheap to copy (shared state); safe to read from many threads. What was moved from is a
// table of no rows.
class HELIP_EXPORT HardNegatives {
 public:
  HardNegatives() noexcept;  // of no rows
  HardNegatives(const HardNegatives&) noexcept;
  HardNegatives(HardNegatives&&) noexcept;
  HardNegatives& operator=(const HardNegatives&) noexcept;
  HardNegatives& operator=(HardNegatives&&) noexcept;
  ~HardNegatives();

  // Maps a table, and reads ids and counts once. Throws Error as HardPairs::open().
  [[nodiscard]] static HardNegatives open(const std::filesystem::path& path,
                                          const ProgressCallback& progress = {});
  // Writes a directory that did not exist; all or nothing. Throws Error: io, invalid_argument
  // (something is there), cancelled.
  void save(const std::filesystem::path& path, const ProgressCallback& progress = {}) const;
  // Reads every byte, as HardPairs::verify().
  void verify(const ProgressCallback& progress = {}) const;

  [[nodiscard]] std::int64_t size() const noexcept;  // number of queries
  [[nodiscard]] std::int64_t k() const noexcept;
  [[nodiscard]] std::int64_t corpus_size() const noexcept;  // rows that ids number
  [[nodiscard]] MatrixView ids() const noexcept;     // int32 [size(), k], int64 from 2^31 rows
  [[nodiscard]] MatrixView scores() const noexcept;  // float32 [size(), k]
  [[nodiscard]] MatrixView counts() const noexcept;  // int32 [size(), 1]
  // Fingerprints are those of the queries; options_json has those of the corpus.
  [[nodiscard]] const HardPairs::Origin& origin() const noexcept;
  // The directory; empty for a table in memory.
  [[nodiscard]] const std::filesystem::path& path() const noexcept;

 private:
  friend class HardNegativesWriter;
  explicit HardNegatives(std::shared_ptr<const PairTable> table) noexcept;
  std::shared_ptr<const PairTable> table_;  // never null
};

// Streams bands to a directory in bounded memory, or to memory when `path` is empty, as
// HardPairsWriter does.
class HELIP_EXPORT HardNegativesWriter final : public HardPairSink {
 public:
  HardNegativesWriter(std::filesystem::path path, std::int64_t queries, std::int64_t corpus_rows,
                      std::int64_t k);
  ~HardNegativesWriter() override;
  HardNegativesWriter(const HardNegativesWriter&) = delete;
  HardNegativesWriter& operator=(const HardNegativesWriter&) = delete;

  void write(const HardPairBand& band) override;
  // `origin.options_json` must have "corpus_rows".
  HardNegatives finish(HardPairs::Origin origin);

 private:
  std::unique_ptr<PairTableWriter> writer_;
};

}  // namespace helip
