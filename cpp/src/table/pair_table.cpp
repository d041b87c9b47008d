#include "table/pair_table.h"

#include <algorithm>
#include <new>
#include <string>

#include "base/checked.h"
#include "base/machine.h"
#include "base/refuse.h"
#include "io/byte_progress.h"
#include "io/column_writer.h"
#include "io/file.h"
#include "table/pair_columns.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using json = Json;

constexpr std::int64_t kMostRows = std::int64_t{1} << 40;  // more is no data set of this library
constexpr std::int64_t kCheckedRows = 65536;               // between two looks at the progress
constexpr std::int64_t kSavedRows = 4096;

PartRange range_of(const json& attributes) {
  const json& part = attributes.at("part");
  return {integer_of(part.at("index")), integer_of(part.at("count")), integer_of(part.at("rows"))};
}

std::int64_t row_bytes(const MatrixView& view) { return view.cols * size_of(view.dtype); }

}  // namespace

const char* format_of(PairTableKind kind) noexcept {
  constexpr const char* kFormats[] = {"helip.hard_pairs", "helip.hard_pairs_part",
                                      "helip.hard_negatives"};
  return kFormats[static_cast<int>(kind)];
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
    table->id_rows = range.rows;
    const auto& features = manifest.features;
    table->of_queries = std::find(features.begin(), features.end(), kCorpus) != features.end();
    if (table->of_queries) {
      table->id_rows = integer_of(manifest.attributes.at("options").at("corpus_rows"));
    }
  } catch (const json::exception& error) {
    table->damaged(error.what());
  }
  if (range.rows < 0 || range.rows > kMostRows || range.count < 1 ||
      range.count > std::max<std::int64_t>(1, range.rows) || range.index < 1 ||
      range.index > range.count || range.size() != reader.rows() || table->id_rows < 0 ||
      table->id_rows > kMostRows ||
      table->of_queries != (is_part ? table->of_queries : kind == PairTableKind::negatives)) {
    table->damaged("it has " + std::to_string(reader.rows()) + " rows, and says that it is part " +
                   std::to_string(range.index) + " of " + std::to_string(range.count) + " of " +
                   std::to_string(range.rows));
  }
  const std::int64_t k = manifest.columns.empty() ? 0 : manifest.columns[0].cols;
  if (k < 1 || manifest.columns != pair_manifest(format_of(kind), table->id_rows, k).columns) {
    table->damaged(is_part ? "its columns are not those of hard pairs"
                           : "its columns are not those of a table of hard pairs");
  }
  table->ids = reader.column(kIdsColumn);
  table->scores = reader.column(kScoresColumn);
  table->counts = reader.column(kCountsColumn);
  return table;
}

std::shared_ptr<PairTable> PairTable::empty(std::int64_t rows, std::int64_t k,
                                            std::optional<std::int64_t> corpus_rows) {
  auto table = std::make_shared<PairTable>();
  if (corpus_rows) table->kind = PairTableKind::negatives;
  table->range = {1, 1, rows};
  table->id_rows = corpus_rows.value_or(rows);
  table->of_queries = corpus_rows.has_value();
  const DType dtype = id_dtype(table->id_rows);
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
    const std::string fault =
        fault_of_ids(ids, counts, begin, end, range.first(), {id_rows, of_queries});
    if (!fault.empty()) damaged(fault);
    state.advance((end - begin) * bytes);
  }
}

void PairTable::save(const fs::path& to, const ProgressCallback& progress) const {
  if (ids.cols < 1) {
    refuse("a table without columns cannot be saved; it was moved from, or never made");
  }
  Manifest empty = pair_manifest(format_of(kind), id_rows, ids.cols);
  if (of_queries) empty.features = {kCorpus};
  ColumnWriter writer(to, empty, false);
  std::int64_t bytes = 0;
  for (const ColumnSpec& column : empty.columns) bytes += column.row_bytes();
  ByteProgress state("save", counts.rows * bytes, progress);
  for (std::int64_t first = 0; first < counts.rows; first += kSavedRows) {
    const std::int64_t rows = std::min(kSavedRows, counts.rows - first);
    writer.append(rows, {ids.row(first), scores.row(first), counts.row(first)}, nullptr);
    state.advance(rows * bytes);
  }
  require_whole();
  writer.close([&](Manifest& manifest) { manifest.attributes = attributes_of(origin); });
}

void PairTable::verify(const ProgressCallback& progress) const {
  const std::int64_t bytes = row_bytes(ids) + row_bytes(scores) + row_bytes(counts);
  ByteProgress state("verify", (reader ? reader->bytes() : 0) + counts.rows * bytes, progress);
  if (reader) reader->verify({}, [&](std::int64_t read) { state.advance(read); });
  for (std::int64_t begin = 0; begin < counts.rows; begin += kCheckedRows) {
    const std::int64_t end = std::min(begin + kCheckedRows, counts.rows);
    const std::string fault =
        fault_of_rows(ids, scores, counts, begin, end, range.first(), {id_rows, of_queries});
    if (!fault.empty()) damaged(fault);
    state.advance((end - begin) * bytes);
  }
}

}  // namespace helip
