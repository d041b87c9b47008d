#include "helip/hard_pairs_part.h"

#include <utility>

#include "base/empty_state.h"
#include "base/refuse.h"
#include "base/rethrow.h"
#include "table/pair_columns.h"
#include "table/pair_table.h"

namespace helip {

namespace fs = std::filesystem;

HardPairsPart::HardPairsPart() noexcept : table_(empty_state<PairTable>()) {}
HardPairsPart::HardPairsPart(std::shared_ptr<const PairTable> table) noexcept
    : table_(std::move(table)) {}
HardPairsPart::HardPairsPart(const HardPairsPart&) noexcept = default;
HardPairsPart::HardPairsPart(HardPairsPart&& other) noexcept
    : table_(std::exchange(other.table_, empty_state<PairTable>())) {}
HardPairsPart& HardPairsPart::operator=(const HardPairsPart&) noexcept = default;
HardPairsPart& HardPairsPart::operator=(HardPairsPart&& other) noexcept {
  table_ = std::exchange(other.table_, empty_state<PairTable>());
  return *this;
}
HardPairsPart::~HardPairsPart() = default;

HardPairsPart HardPairsPart::open(const fs::path& path) try {
  return HardPairsPart(PairTable::open(path, PairTableKind::part));
} catch (...) {
  rethrow_as_error();
}

void HardPairsPart::verify(const ProgressCallback& progress) const { table_->verify(progress); }

const fs::path& HardPairsPart::path() const noexcept { return table_->path; }
const PartRange& HardPairsPart::range() const noexcept { return table_->range; }
std::int64_t HardPairsPart::k() const noexcept { return table_->ids.cols; }
std::int64_t HardPairsPart::corpus_size() const noexcept {
  return table_->of_queries ? table_->id_rows : -1;
}
MatrixView HardPairsPart::ids() const noexcept { return table_->ids; }
MatrixView HardPairsPart::scores() const noexcept { return table_->scores; }
MatrixView HardPairsPart::counts() const noexcept { return table_->counts; }
const HardPairs::Origin& HardPairsPart::origin() const noexcept { return table_->origin; }

HardPairBand HardPairsPart::band(std::int64_t first, std::int64_t rows) const try {
  const PairTable& table = *table_;
  const PartRange& range = table.range;
  if (first < range.first() || rows < 0 || first > range.last() || rows > range.last() - first) {
    refuse("targets ", first, " .. ", first + rows, " are not all of part ", range.index,
           ", which has ", range.first(), " .. ", range.last());
  }
  const std::int64_t begin = first - range.first();
  HardPairBand band;
  band.first = first;
  band.k = k();
  for (std::int64_t i = begin; i < begin + rows; ++i) {
    for (std::int64_t r = 0; r < band.k; ++r) {
      band.ids.push_back(id_at(table.ids, i, r));
      band.scores.push_back(score_at(table.scores, i, r));
    }
    band.counts.push_back(count_at(table.counts, i));
  }
  table.require_whole();
  return band;
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
