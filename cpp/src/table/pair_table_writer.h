// Writes the hard pairs of a range of targets, band by band: what HardPairsWriter and
// HardPairsPartWriter do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "helip/hard_pairs_writer.h"
#include "io/column_writer.h"
#include "table/pair_columns.h"
#include "table/pair_table.h"

namespace helip {

class PairTableWriter {
 public:
  // To the directory `path`; empty: to memory, a whole table alone. `corpus_rows`: that ids number,
  // where they do not number the targets.
  PairTableWriter(std::filesystem::path path, PairTableKind kind, const PartRange& range,
                  std::int64_t k, ExistingTable existing,
                  std::optional<std::int64_t> corpus_rows = {});

  void write(const HardPairBand& band);
  std::shared_ptr<const PairTable> finish(HardPairs::Origin origin);

 private:
  std::filesystem::path path_;
  PairTableKind kind_;
  PartRange range_;
  std::int64_t k_;
  IdRules ids_;
  std::int64_t next_;  // target that the next band must start at
  std::optional<ColumnWriter> columns_;
  std::shared_ptr<PairTable> table_;  // in memory
};

}  // namespace helip
