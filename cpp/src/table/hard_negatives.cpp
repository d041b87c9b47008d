#include "helip/hard_negatives.h"

#include <utility>

#include "base/empty_state.h"
#include "base/rethrow.h"
#include "table/pair_table.h"
#include "table/pair_table_writer.h"

namespace helip {

namespace fs = std::filesystem;

HardNegatives::HardNegatives() noexcept : table_(empty_state<PairTable>()) {}
HardNegatives::HardNegatives(std::shared_ptr<const PairTable> table) noexcept
    : table_(std::move(table)) {}
HardNegatives::HardNegatives(const HardNegatives&) noexcept = default;
HardNegatives::HardNegatives(HardNegatives&& other) noexcept
    : table_(std::exchange(other.table_, empty_state<PairTable>())) {}
HardNegatives& HardNegatives::operator=(const HardNegatives&) noexcept = default;
HardNegatives& HardNegatives::operator=(HardNegatives&& other) noexcept {
  table_ = std::exchange(other.table_, empty_state<PairTable>());
  return *this;
}
HardNegatives::~HardNegatives() = default;

HardNegatives HardNegatives::open(const fs::path& path, const ProgressCallback& progress) try {
  const auto table = PairTable::open(path, PairTableKind::negatives);
  table->check_ids(progress);
  return HardNegatives(table);
} catch (...) {
  rethrow_as_error();
}

void HardNegatives::save(const fs::path& path, const ProgressCallback& progress) const try {
  table_->save(path, progress);
} catch (...) {
  rethrow_as_error();
}

void HardNegatives::verify(const ProgressCallback& progress) const try {
  table_->verify(progress);
} catch (...) {
  rethrow_as_error();
}

std::int64_t HardNegatives::size() const noexcept { return table_->ids.rows; }
std::int64_t HardNegatives::k() const noexcept { return table_->ids.cols; }
std::int64_t HardNegatives::corpus_size() const noexcept { return table_->id_rows; }
MatrixView HardNegatives::ids() const noexcept { return table_->ids; }
MatrixView HardNegatives::scores() const noexcept { return table_->scores; }
MatrixView HardNegatives::counts() const noexcept { return table_->counts; }
const HardPairs::Origin& HardNegatives::origin() const noexcept { return table_->origin; }
const fs::path& HardNegatives::path() const noexcept { return table_->path; }

HardNegativesWriter::HardNegativesWriter(fs::path path, std::int64_t queries,
                                         std::int64_t corpus_rows, std::int64_t k) try
    : writer_(std::make_unique<PairTableWriter>(std::move(path), PairTableKind::negatives,
                                                PartRange{1, 1, queries}, k, ExistingTable::refuse,
                                                corpus_rows)) {
} catch (...) {
  rethrow_as_error();
}

HardNegativesWriter::~HardNegativesWriter() = default;

void HardNegativesWriter::write(const HardPairBand& band) try {
  writer_->write(band);
} catch (...) {
  rethrow_as_error();
}

HardNegatives HardNegativesWriter::finish(HardPairs::Origin origin) try {
  return HardNegatives(writer_->finish(std::move(origin)));
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
