#include "helip/hard_pairs_writer.h"

#include <utility>

#include "io/column_writer.h"
#include "table/pair_table_writer.h"

namespace helip {

namespace fs = std::filesystem;

HardPairsWriter::HardPairsWriter(fs::path path, std::int64_t rows, std::int64_t k,
                                 ExistingTable existing)
    : writer_(std::make_unique<PairTableWriter>(std::move(path), PairTableKind::whole,
                                                PartRange{1, 1, rows}, k, existing)) {}

HardPairsWriter::~HardPairsWriter() = default;

void HardPairsWriter::write(const HardPairBand& band) { writer_->write(band); }

HardPairs HardPairsWriter::finish(HardPairs::Origin origin) {
  return HardPairs(writer_->finish(std::move(origin)));
}

void HardPairsWriter::remove_leftovers(const fs::path& path) {
  try {
    const ColumnWriter tidy(path, format_of(PairTableKind::whole), false);
  } catch (const Error&) {  // the table is whole all the same
  }
}

HardPairsPartWriter::HardPairsPartWriter(fs::path path, const PartRange& range, std::int64_t k)
    : writer_(std::make_unique<PairTableWriter>(std::move(path), PairTableKind::part, range, k,
                                                ExistingTable::refuse)) {}

HardPairsPartWriter::~HardPairsPartWriter() = default;

void HardPairsPartWriter::write(const HardPairBand& band) { writer_->write(band); }

HardPairsPart HardPairsPartWriter::finish(HardPairs::Origin origin) {
  return HardPairsPart(writer_->finish(std::move(origin)));
}

}  // namespace helip
