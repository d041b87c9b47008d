// Writes a table of hard pairs, or a part of one, band by band.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "helip/export.h"
#include "helip/hard_pair_band.h"
#include "helip/hard_pairs.h"
#include "helip/hard_pairs_part.h"

namespace helip {

class PairTableWriter;

// What a writer does with a table that is there already: throws invalid_argument, or puts its own
// in the place of it, in one step, when it finishes.
enum class ExistingTable { refuse, replace };

// Streams bands to a directory in bounded memory, or to memory when `path` is empty.
// Not thread-safe. A writer destroyed before finish() publishes nothing. A write that fails is
// final: Error(io) also of every later call.
class HELIP_EXPORT HardPairsWriter final : public HardPairSink {
 public:
  // Throws Error: invalid_argument (rows below 0, k below 1, something is there), io,
  // out_of_memory.
  HardPairsWriter(std::filesystem::path path, std::int64_t rows, std::int64_t k,
                  ExistingTable existing = ExistingTable::refuse);
  ~HardPairsWriter() override;
  HardPairsWriter(const HardPairsWriter&) = delete;
  HardPairsWriter& operator=(const HardPairsWriter&) = delete;

  // Throws invalid_argument where the band does not follow the last one, or a row of it breaks a
  // rule of tables: then nothing of it is taken.
  void write(const HardPairBand& band) override;
  // Publishes, once. Throws invalid_argument when rows are missing.
  HardPairs finish(HardPairs::Origin origin);

  // Removes what a writer that was killed left beside a table. Leaves it where another writer is at
  // work, or where the directory can only be read.
  static void remove_leftovers(const std::filesystem::path& path);

 private:
  std::unique_ptr<PairTableWriter> writer_;
};

// Streams the bands of a part to a new directory. Not thread-safe; owns the directory while it
// lives. A writer destroyed before finish() publishes nothing.
class HELIP_EXPORT HardPairsPartWriter final : public HardPairSink {
 public:
  // `corpus_rows`: of a part of hard negatives, whose ids number the rows of a corpus.
  HardPairsPartWriter(std::filesystem::path path, const PartRange& range, std::int64_t k,
                      std::optional<std::int64_t> corpus_rows = {});
  ~HardPairsPartWriter() override;
  HardPairsPartWriter(const HardPairsPartWriter&) = delete;
  HardPairsPartWriter& operator=(const HardPairsPartWriter&) = delete;

  // Bands count targets of the whole table: the first one starts at range.first().
  void write(const HardPairBand& band) override;
  // Publishes, once. Throws invalid_argument when targets are missing.
  HardPairsPart finish(HardPairs::Origin origin);

 private:
  std::unique_ptr<PairTableWriter> writer_;
};

}  // namespace helip
