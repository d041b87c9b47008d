#include "table/pair_table_writer.h"

#include <limits>
#include <utility>
#include <vector>

#include "base/refuse.h"

namespace helip {

namespace fs = std::filesystem;
using json = Json;

PairTableWriter::PairTableWriter(fs::path path, PairTableKind kind, const PartRange& range,
                                 std::int64_t k, ExistingTable existing,
                                 std::optional<std::int64_t> corpus_rows)
    : path_(std::move(path)),
      kind_(kind),
      range_(range),
      k_(k),
      ids_{corpus_rows.value_or(range.rows), corpus_rows.has_value()} {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 8;
  if (range.count < 1 || range.index < 1 || range.index > range.count || range.rows < 0 || k < 1 ||
      range.rows > kMost / k) {
    refuse("a table of ", range.rows, " rows and k = ", k, ", part ", range.index, " of ",
           range.count, "; rows are at least 0, k and the part at least 1");
  }
  next_ = range.first();
  Manifest manifest = pair_manifest(format_of(kind), ids_.rows, k);
  if (ids_.of_queries) manifest.features = {kCorpus};
  if (path_.empty()) {
    table_ = PairTable::empty(range.rows, k, corpus_rows);
  } else if (existing == ExistingTable::replace) {
    columns_.emplace(ColumnWriter::replacing(path_, std::move(manifest), false));
  } else {
    columns_.emplace(path_, std::move(manifest), false);
  }
}

void PairTableWriter::write(const HardPairBand& band) {
  const auto rows = static_cast<std::int64_t>(band.counts.size());
  if (band.first != next_ || band.k != k_ || rows > range_.last() - next_) {
    if (kind_ == PairTableKind::whole) {
      refuse("a band of rows ", band.first, " .. ", band.first + rows, " with k = ", band.k,
             " does not follow row ", next_, " of a table of ", range_.rows, " with k = ", k_);
    }
    refuse("a band of targets ", band.first, " .. ", band.first + rows, " with k = ", band.k,
           " does not follow target ", next_, " of a part that ends at ", range_.last(),
           " with k = ", k_);
  }
  const auto places = static_cast<std::size_t>(rows * k_);
  if (band.ids.size() != places || band.scores.size() != places) {
    refuse("a band of ", rows, " rows with k = ", k_, " has ", band.ids.size(), " ids and ",
           band.scores.size(), " scores; give ", places, " of each");
  }
  const std::string fault =
      fault_of_rows({band.ids.data(), rows, k_, DType::int64, k_ * 8},
                    {band.scores.data(), rows, k_, DType::float32, k_ * 4},
                    {band.counts.data(), rows, 1, DType::int32, 4}, 0, rows, band.first, ids_);
  if (!fault.empty()) refuse(fault, "; mend the band");
  if (columns_) {
    std::vector<std::int32_t> narrow;
    const void* ids = band.ids.data();
    if (id_dtype(ids_.rows) == DType::int32) {
      narrow.assign(band.ids.begin(), band.ids.end());
      ids = narrow.data();
    }
    columns_->append(rows, {ids, band.scores.data(), band.counts.data()}, nullptr);
  } else if (table_) {
    for (std::int64_t i = 0; i < rows; ++i) {
      table_->put(band.first + i, band.ids.data() + i * k_, band.scores.data() + i * k_,
                  band.counts[static_cast<std::size_t>(i)]);
    }
  } else {
    refuse("the table was finished; nothing can be written to it");
  }
  next_ += rows;
}

std::shared_ptr<const PairTable> PairTableWriter::finish(HardPairs::Origin origin) {
  if (!columns_ && !table_) refuse("the table was finished already");
  if (next_ != range_.last()) {
    if (kind_ == PairTableKind::whole) {
      refuse("the table has ", next_, " of ", range_.rows, " rows");
    }
    refuse("the part ends at target ", range_.last(), ", but only those before ", next_,
           " were written");
  }
  json attributes = attributes_of(origin);
  if (kind_ == PairTableKind::part) {
    attributes["part"] = {{"index", range_.index}, {"count", range_.count}, {"rows", range_.rows}};
  }
  if (!columns_) {
    table_->origin = std::move(origin);
    return std::exchange(table_, nullptr);
  }
  columns_->close([&](Manifest& manifest) { manifest.attributes = attributes; });
  columns_.reset();
  // What was written was checked band by band.
  return PairTable::open(path_, kind_);
}

}  // namespace helip
