#include "table/pair_table.h"

#include <algorithm>
#include <new>
#include <string>

#include "base/checked.h"
#include "base/machine.h"
#include "base/refuse.h"
#include "io/byte_progress.h"
#include "io/file.h"
#include "table/pair_columns.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using json = Json;

constexpr std::int64_t kMostRows = std::int64_t{1} << 40;  // more is no data set of this library
constexpr std::int64_t kCheckedRows = 65536;               // between two looks at the progress

PartRange range_of(const json& attributes) {
  const json& part = attributes.at("part");
  return {integer_of(part.at("index")), integer_of(part.at("count")), integer_of(part.at("rows"))};
}

std::int64_t row_bytes(const MatrixView& view) { return view.cols * size_of(view.dtype); }

}  // namespace

const char* format_of(PairTableKind kind) noexcept {
  return kind == PairTableKind::whole ? "helip.hard_pairs" : "helip.hard_pairs_part";
}

void PairTable::damaged(const std::string& what) const {
  throw_damaged(path, what,
                kind == PairTableKind::part ? "remove it and mine this part again" : "");
}

std::shared_ptr<PairTable> PairTable::open(const fs::path& path, PairTableKind kind) {
  auto table = std::make_shared<PairTable>();
  table->kind = kind;
  table->path = path;
  table->reader = open_columns(path, format_of(kind));
  const ColumnReader& reader = *table->reader;
  const Manifest& manifest = reader.manifest();
  const bool is_part = kind == PairTableKind::part;
  PartRange& range = table->range;
  try {
    range = is_part ? range_of(manifest.attributes) : PartRange{1, 1, reader.rows()};
    table->origin = origin_of(manifest.attributes);
  } catch (const json::exception& error) {
    table->damaged(error.what());
  }
  if (range.rows < 0 || range.rows > kMostRows || range.count < 1 ||
      range.count > std::max<std::int64_t>(1, range.rows) || range.index < 1 ||
      range.index > range.count || range.size() != reader.rows()) {
    table->damaged("it has " + std::to_string(reader.rows()) + " rows, and says that it is part " +
                   std::to_string(range.index) + " of " + std::to_string(range.count) + " of " +
                   std::to_string(range.rows));
  }
  const std::int64_t k = manifest.columns.empty() ? 0 : manifest.columns[0].cols;
  if (k < 1 || manifest.columns != pair_manifest(format_of(kind), range.rows, k).columns) {
    table->damaged(is_part ? "its columns are not those of hard pairs"
                           : "its columns are not those of a table of hard pairs");
  }
  table->ids = reader.column(kIdsColumn);
  table->scores = reader.column(kScoresColumn);
  table->counts = reader.column(kCountsColumn);
  return table;
}

std::shared_ptr<PairTable> PairTable::empty(std::int64_t rows, std::int64_t k) {
  auto table = std::make_shared<PairTable>();
  table->range = {1, 1, rows};
  const DType dtype = id_dtype(rows);
  std::int64_t bytes = k;
  const bool fits_64_bits = checked_multiply(bytes, 4 + size_of(dtype)) &&
                            checked_add(bytes, std::int64_t{4}) && checked_multiply(bytes, rows);
  const std::int64_t most = this_machine().memory;
  try {
    if (!fits_64_bits || (most > 0 && bytes > most)) throw std::bad_alloc();
    const auto cells = static_cast<std::size_t>(rows * k);
    if (dtype == DType::int32) {
      table->own_ids32.assign(cells, -1);
    } else {
      table->own_ids64.assign(cells, -1);
    }
    table->own_scores.assign(cells, 0.0F);
    table->own_counts.assign(static_cast<std::size_t>(rows), 0);
  } catch (const std::exception&) {  // bad_alloc, length_error
    fail(ErrorCode::out_of_memory, "there is not enough memory for a table of ", rows,
         " rows and k = ", k, "; write it to a directory, or lower k");
  }
  const void* ids = dtype == DType::int32 ? static_cast<const void*>(table->own_ids32.data())
                                          : table->own_ids64.data();
  table->ids = {ids, rows, k, dtype, k * size_of(dtype)};
  table->scores = {table->own_scores.data(), rows, k, DType::float32, k * 4};
  table->counts = {table->own_counts.data(), rows, 1, DType::int32, 4};
  return table;
}

void PairTable::put(std::int64_t i, const std::int64_t* row_ids, const float* row_scores,
                    std::int32_t count) noexcept {
  const std::int64_t k = ids.cols;
  const std::int64_t at = i * k;
  if (ids.dtype == DType::int32) {
    std::transform(row_ids, row_ids + k, own_ids32.data() + at,
                   [](std::int64_t id) { return static_cast<std::int32_t>(id); });
  } else {
    std::copy_n(row_ids, k, own_ids64.data() + at);
  }
  std::copy_n(row_scores, k, own_scores.data() + at);
  own_counts[static_cast<std::size_t>(i)] = count;
}

void PairTable::check_ids(const ProgressCallback& progress) const {
  const std::int64_t bytes = row_bytes(ids) + row_bytes(counts);
  ByteProgress state("open", 2 * counts.rows * bytes, progress);
  reader->verify({kIdsColumn, kCountsColumn}, [&](std::int64_t read) { state.advance(read); });
  for (std::int64_t begin = 0; begin < counts.rows; begin += kCheckedRows) {
    const std::int64_t end = std::min(begin + kCheckedRows, counts.rows);
    const std::string fault = fault_of_ids(ids, counts, begin, end, range.first(), range.rows);
    if (!fault.empty()) damaged(fault);
    state.advance((end - begin) * bytes);
  }
}

void PairTable::verify(const ProgressCallback& progress) const {
  const std::int64_t bytes = row_bytes(ids) + row_bytes(scores) + row_bytes(counts);
  ByteProgress state("verify", (reader ? reader->bytes() : 0) + counts.rows * bytes, progress);
  if (reader) reader->verify({}, [&](std::int64_t read) { state.advance(read); });
  for (std::int64_t begin = 0; begin < counts.rows; begin += kCheckedRows) {
    const std::int64_t end = std::min(begin + kCheckedRows, counts.rows);
    const std::string fault =
        fault_of_rows(ids, scores, counts, begin, end, range.first(), range.rows);
    if (!fault.empty()) damaged(fault);
    state.advance((end - begin) * bytes);
  }
}

}  // namespace helip
