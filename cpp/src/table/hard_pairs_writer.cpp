#include "helip/hard_pairs_writer.h"

#include <utility>

#include "base/rethrow.h"
#include "io/column_writer.h"
#include "table/pair_table_writer.h"

namespace helip {

namespace fs = std::filesystem;

HardPairsWriter::HardPairsWriter(fs::path path, std::int64_t rows, std::int64_t k,
                                 ExistingTable existing) try
    : writer_(std::make_unique<PairTableWriter>(std::move(path), PairTableKind::whole,
                                                PartRange{1, 1, rows}, k, existing)) {
} catch (...) {
  rethrow_as_error();
}

HardPairsWriter::~HardPairsWriter() = default;

void HardPairsWriter::write(const HardPairBand& band) try { writer_->write(band); } catch (...) {
  rethrow_as_error();
}

HardPairs HardPairsWriter::finish(HardPairs::Origin origin) try {
  return HardPairs(writer_->finish(std::move(origin)));
} catch (...) {
  rethrow_as_error();
}

void HardPairsWriter::remove_leftovers(const fs::path& path) try {
  try {
    const ColumnWriter tidy(path, format_of(PairTableKind::whole), false);
  } catch (const Error&) {  // the table is whole all the same
  }
} catch (...) {
  rethrow_as_error();
}

HardPairsPartWriter::HardPairsPartWriter(fs::path path, const PartRange& range, std::int64_t k,
                                         std::optional<std::int64_t> corpus_rows) try
    : writer_(std::make_unique<PairTableWriter>(std::move(path), PairTableKind::part, range, k,
                                                ExistingTable::refuse, corpus_rows)) {
} catch (...) {
  rethrow_as_error();
}

HardPairsPartWriter::~HardPairsPartWriter() = default;

void HardPairsPartWriter::write(const HardPairBand& band) try {
  writer_->write(band);
} catch (...) {
  rethrow_as_error();
}

HardPairsPart HardPairsPartWriter::finish(HardPairs::Origin origin) try {
  return HardPairsPart(writer_->finish(std::move(origin)));
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
