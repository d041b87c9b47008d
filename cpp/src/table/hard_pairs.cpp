#include "helip/hard_pairs.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "helip/error.h"
#include "io/column_reader.h"
#include "io/column_writer.h"
#include "table/pair_columns.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFormat = "helip.hard_pairs";
constexpr std::int64_t kCopyRows = 4096;

}  // namespace

HardPairSink::~HardPairSink() = default;

struct HardPairs::State {
  std::shared_ptr<const ColumnReader> reader;  // mapped, or the vectors below
  std::vector<std::int32_t> ids32;
  std::vector<std::int64_t> ids64;
  std::vector<float> owned_scores;
  std::vector<std::int32_t> owned_counts;
  MatrixView ids;
  MatrixView scores;
  MatrixView counts;
  Origin origin;

  void resize(std::int64_t rows, std::int64_t k) {
    const auto cells = static_cast<std::size_t>(rows * k);
    const bool narrow = id_dtype(rows) == DType::int32;
    if (narrow)
      ids32.assign(cells, -1);
    else
      ids64.assign(cells, -1);
    owned_scores.assign(cells, 0.0F);
    owned_counts.assign(static_cast<std::size_t>(rows), 0);
    const std::int64_t width = size_of(id_dtype(rows));
    const void* id_data = narrow ? static_cast<const void*>(ids32.data()) : ids64.data();
    ids = {id_data, rows, k, id_dtype(rows), k * width, nullptr};
    scores = {owned_scores.data(), rows, k, DType::float32, k * 4, nullptr};
    counts = {owned_counts.data(), rows, 1, DType::int32, 4, nullptr};
  }

  void put(std::int64_t row, const std::int64_t* row_ids, const float* row_scores,
           std::int32_t count) {
    const auto at = static_cast<std::size_t>(row * ids.cols);
    for (std::size_t r = 0; r < static_cast<std::size_t>(ids.cols); ++r) {
      if (ids32.empty())
        ids64[at + r] = row_ids[r];
      else
        ids32[at + r] = static_cast<std::int32_t>(row_ids[r]);
      owned_scores[at + r] = row_scores[r];
    }
    owned_counts[static_cast<std::size_t>(row)] = count;
  }
};

HardPairs::HardPairs(std::shared_ptr<const State> state) : state_(std::move(state)) {}

HardPairs HardPairs::open(const fs::path& path) {
  auto state = std::make_shared<State>();
  state->reader = open_columns(path, kFormat);
  const ColumnReader& reader = *state->reader;
  const Manifest& manifest = reader.manifest();
  const auto damaged = [&](const std::string& what) {
    return Error(ErrorCode::corrupt, "\"" + path.string() + "\" is damaged: " + what);
  };
  const std::int64_t k = manifest.columns.empty() ? 0 : manifest.columns[0].cols;
  if (k < 1 || manifest.columns != pair_manifest(kFormat, reader.rows(), k).columns) {
    throw damaged("its columns are not those of a table of hard pairs");
  }
  state->ids = reader.column(kIdsColumn);
  state->scores = reader.column(kScoresColumn);
  state->counts = reader.column(kCountsColumn);
  try {
    state->origin = origin_of(manifest.attributes);
  } catch (const json::exception& error) {
    throw damaged(error.what());
  }
  // Ids steer training, so a flipped bit in them must show before the first batch.
  reader.verify({kIdsColumn, kCountsColumn}, {});
  for (std::int64_t i = 0; i < reader.rows(); ++i) {
    const std::string fault =
        fault_of(state->ids, state->scores, state->counts, i, 0, reader.rows());
    if (!fault.empty()) throw damaged(fault);
  }
  return HardPairs(std::move(state));
}

HardPairs HardPairs::from_arrays(MatrixView ids, MatrixView scores, MatrixView counts,
                                 Origin origin) {
  const auto bad = [](const std::string& what) { throw Error(ErrorCode::invalid_argument, what); };
  if (ids.dtype != DType::int32 && ids.dtype != DType::int64) {
    bad(std::string("ids are ") + name_of(ids.dtype) + "; use int32 or int64");
  }
  if (scores.dtype != DType::float32) {
    bad(std::string("scores are ") + name_of(scores.dtype) + "; use float32");
  }
  if (counts.dtype != DType::int32) {
    bad(std::string("counts are ") + name_of(counts.dtype) + "; use int32");
  }
  if (ids.cols < 1) bad("ids have no column; k must be at least 1");
  if (scores.rows != ids.rows || scores.cols != ids.cols || counts.rows != ids.rows ||
      counts.cols != 1) {
    bad("ids [" + std::to_string(ids.rows) + ", " + std::to_string(ids.cols) + "], scores [" +
        std::to_string(scores.rows) + ", " + std::to_string(scores.cols) + "] and counts [" +
        std::to_string(counts.rows) + "] must agree");
  }
  auto state = std::make_shared<State>();
  state->resize(ids.rows, ids.cols);
  std::vector<std::int64_t> row_ids(static_cast<std::size_t>(ids.cols));
  for (std::int64_t i = 0; i < ids.rows; ++i) {
    const std::string fault = fault_of(ids, scores, counts, i, 0, ids.rows);
    if (!fault.empty()) bad(fault + "; mend the arrays");
    for (std::int64_t r = 0; r < ids.cols; ++r) {
      row_ids[static_cast<std::size_t>(r)] = id_at(ids, i, r);
    }
    state->put(i, row_ids.data(), static_cast<const float*>(scores.row(i)), count_at(counts, i));
  }
  attributes_of(origin);  // refuses options that are not JSON
  state->origin = std::move(origin);
  return HardPairs(std::move(state));
}

void HardPairs::save(const fs::path& path) const {
  ColumnWriter writer(path, pair_manifest(kFormat, size(), k()), false);
  for (std::int64_t first = 0; first < size(); first += kCopyRows) {
    const std::int64_t rows = std::min(kCopyRows, size() - first);
    writer.append(rows, {ids().row(first), scores().row(first), counts().row(first)}, nullptr);
  }
  writer.close([&](Manifest& manifest) { manifest.attributes = attributes_of(origin()); });
}

void HardPairs::verify() const {
  if (state_->reader) state_->reader->verify({}, {});
}

std::int64_t HardPairs::size() const noexcept { return state_->ids.rows; }
std::int64_t HardPairs::k() const noexcept { return state_->ids.cols; }
MatrixView HardPairs::ids() const noexcept { return state_->ids; }
MatrixView HardPairs::scores() const noexcept { return state_->scores; }
MatrixView HardPairs::counts() const noexcept { return state_->counts; }

std::int64_t HardPairs::id(std::int64_t target, std::int64_t rank) const noexcept {
  return id_at(state_->ids, target, rank);
}
float HardPairs::score(std::int64_t target, std::int64_t rank) const noexcept {
  return score_at(state_->scores, target, rank);
}
std::int32_t HardPairs::count(std::int64_t target) const noexcept {
  return count_at(state_->counts, target);
}
const HardPairs::Origin& HardPairs::origin() const noexcept { return state_->origin; }

struct HardPairsWriter::Impl {
  fs::path path;
  std::int64_t rows = 0;
  std::int64_t k = 0;
  std::int64_t written = 0;
  std::optional<ColumnWriter> columns;      // streaming
  std::shared_ptr<HardPairs::State> state;  // in memory
};

HardPairsWriter::HardPairsWriter(fs::path path, std::int64_t rows, std::int64_t k,
                                 ExistingTable existing)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = std::move(path);
  impl_->rows = rows;
  impl_->k = k;
  if (impl_->path.empty()) {
    impl_->state = std::make_shared<HardPairs::State>();
    impl_->state->resize(rows, k);
  } else if (existing == ExistingTable::replace && fs::exists(impl_->path / kManifestName)) {
    impl_->columns.emplace(
        ColumnWriter::replacing(impl_->path, pair_manifest(kFormat, rows, k), false));
  } else {
    impl_->columns.emplace(impl_->path, pair_manifest(kFormat, rows, k), false);
  }
}

HardPairsWriter::~HardPairsWriter() = default;

void HardPairsWriter::remove_leftovers(const fs::path& path) {
  try {
    const ColumnWriter tidy(path, kFormat, false);
  } catch (const Error&) {  // the table is whole all the same
  }
}

void HardPairsWriter::write(const HardPairBand& band) {
  Impl& impl = *impl_;
  const auto rows = static_cast<std::int64_t>(band.counts.size());
  if (band.first != impl.written || band.k != impl.k || impl.written + rows > impl.rows) {
    throw Error(ErrorCode::invalid_argument,
                "a band of rows " + std::to_string(band.first) + " .. " +
                    std::to_string(band.first + rows) + " with k = " + std::to_string(band.k) +
                    " does not follow row " + std::to_string(impl.written) + " of a table of " +
                    std::to_string(impl.rows) + " with k = " + std::to_string(impl.k));
  }
  impl.written += rows;
  if (!impl.columns) {
    for (std::int64_t i = 0; i < rows; ++i) {
      impl.state->put(band.first + i, band.ids.data() + i * band.k, band.scores.data() + i * band.k,
                      band.counts[static_cast<std::size_t>(i)]);
    }
    return;
  }
  std::vector<std::int32_t> narrow;
  const void* ids = band.ids.data();
  if (id_dtype(impl.rows) == DType::int32) {
    narrow.assign(band.ids.begin(), band.ids.end());
    ids = narrow.data();
  }
  impl.columns->append(rows, {ids, band.scores.data(), band.counts.data()}, nullptr);
}

HardPairs HardPairsWriter::finish(HardPairs::Origin origin) {
  Impl& impl = *impl_;
  if (impl.written != impl.rows) {
    throw Error(ErrorCode::invalid_argument, "the table has " + std::to_string(impl.written) +
                                                 " of " + std::to_string(impl.rows) + " rows");
  }
  const json attributes = attributes_of(origin);
  if (!impl.columns) {
    impl.state->origin = std::move(origin);
    return HardPairs(std::move(impl.state));
  }
  impl.columns->close([&](Manifest& manifest) { manifest.attributes = attributes; });
  return HardPairs::open(impl.path);
}

}  // namespace helip
