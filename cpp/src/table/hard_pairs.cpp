#include "helip/hard_pairs.h"

#include <algorithm>
#include <utility>

#include "base/empty_state.h"
#include "base/refuse.h"
#include "base/rethrow.h"
#include "io/byte_progress.h"
#include "io/mapped_files.h"
#include "table/pair_columns.h"
#include "table/pair_table.h"

namespace helip {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kCopyRows = 4096;

}  // namespace

HardPairs::HardPairs() noexcept : table_(empty_state<PairTable>()) {}
HardPairs::HardPairs(std::shared_ptr<const PairTable> table) noexcept : table_(std::move(table)) {}
HardPairs::HardPairs(const HardPairs&) noexcept = default;
HardPairs::HardPairs(HardPairs&& other) noexcept
    : table_(std::exchange(other.table_, empty_state<PairTable>())) {}
HardPairs& HardPairs::operator=(const HardPairs&) noexcept = default;
HardPairs& HardPairs::operator=(HardPairs&& other) noexcept {
  table_ = std::exchange(other.table_, empty_state<PairTable>());
  return *this;
}
HardPairs::~HardPairs() = default;

HardPairs HardPairs::open(const fs::path& path, const ProgressCallback& progress) try {
  const auto table = PairTable::open(path, PairTableKind::whole);
  table->check_ids(progress);
  return HardPairs(table);
} catch (...) {
  rethrow_as_error();
}

HardPairs HardPairs::from_arrays(const MatrixView& ids, const MatrixView& scores,
                                 const MatrixView& counts, Origin origin,
                                 const ProgressCallback& progress) try {
  if (ids.dtype != DType::int32 && ids.dtype != DType::int64) {
    refuse("ids are ", name_of(ids.dtype), "; use int32 or int64");
  }
  if (scores.dtype != DType::float32) {
    refuse("scores are ", name_of(scores.dtype), "; use float32");
  }
  if (counts.dtype != DType::int32) refuse("counts are ", name_of(counts.dtype), "; use int32");
  if (ids.cols < 1) refuse("ids have no column; k must be at least 1");
  if (scores.rows != ids.rows || scores.cols != ids.cols || counts.rows != ids.rows ||
      counts.cols != 1) {
    refuse("ids [", ids.rows, ", ", ids.cols, "], scores [", scores.rows, ", ", scores.cols,
           "] and counts [", counts.rows, "] must agree");
  }
  ids.check("ids");
  scores.check("scores");
  counts.check("counts");
  (void)attributes_of(origin);  // refuses options that are not JSON
  const auto table = PairTable::empty(ids.rows, ids.cols);
  ByteProgress state("copy", ids.rows * ids.cols * (size_of(ids.dtype) + 4), progress);
  std::vector<std::int64_t> row_ids(static_cast<std::size_t>(ids.cols));
  for (std::int64_t first = 0; first < ids.rows; first += kCopyRows) {
    const std::int64_t last = std::min(first + kCopyRows, ids.rows);
    const std::string fault = fault_of_rows(ids, scores, counts, first, last, 0, {ids.rows});
    for (const MatrixView& column : {ids, scores, counts}) require_whole(column.data);
    if (!fault.empty()) refuse(fault, "; mend the arrays");
    for (std::int64_t i = first; i < last; ++i) {
      for (std::int64_t r = 0; r < ids.cols; ++r) {
        row_ids[static_cast<std::size_t>(r)] = id_at(ids, i, r);
      }
      table->put(i, row_ids.data(), static_cast<const float*>(scores.row(i)), count_at(counts, i));
    }
    state.advance((last - first) * ids.cols * (size_of(ids.dtype) + 4));
  }
  for (const MatrixView& column : {ids, scores, counts}) require_whole(column.data);
  table->origin = std::move(origin);
  return HardPairs(table);
} catch (...) {
  rethrow_as_error();
}

void HardPairs::save(const fs::path& path, const ProgressCallback& progress) const try {
  table_->save(path, progress);
} catch (...) {
  rethrow_as_error();
}

void HardPairs::verify(const ProgressCallback& progress) const try {
  table_->verify(progress);
} catch (...) {
  rethrow_as_error();
}

std::int64_t HardPairs::size() const noexcept { return table_->ids.rows; }
std::int64_t HardPairs::k() const noexcept { return table_->ids.cols; }
MatrixView HardPairs::ids() const noexcept { return table_->ids; }
MatrixView HardPairs::scores() const noexcept { return table_->scores; }
MatrixView HardPairs::counts() const noexcept { return table_->counts; }

std::int64_t HardPairs::id(std::int64_t target, std::int64_t rank) const noexcept {
  return id_at(table_->ids, target, rank);
}
float HardPairs::score(std::int64_t target, std::int64_t rank) const noexcept {
  return score_at(table_->scores, target, rank);
}
std::int32_t HardPairs::count(std::int64_t target) const noexcept {
  return count_at(table_->counts, target);
}
const HardPairs::Origin& HardPairs::origin() const noexcept { return table_->origin; }
const fs::path& HardPairs::path() const noexcept { return table_->path; }

}  // namespace helip
