#include "helip/hard_pairs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "helip/error.h"
#include "io/column_reader.h"
#include "io/column_writer.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFormat = "helip.hard_pairs";
constexpr const char* kIds = "ids";
constexpr const char* kScores = "scores";
constexpr const char* kCounts = "counts";
constexpr std::int64_t kShardRows = 262144;
constexpr std::int64_t kCopyRows = 4096;

DType id_dtype(std::int64_t rows) {
  return rows <= std::numeric_limits<std::int32_t>::max() ? DType::int32 : DType::int64;
}

std::int64_t id_at(const MatrixView& ids, std::int64_t i, std::int64_t r) {
  return ids.dtype == DType::int64 ? static_cast<const std::int64_t*>(ids.row(i))[r]
                                   : static_cast<const std::int32_t*>(ids.row(i))[r];
}

float score_at(const MatrixView& scores, std::int64_t i, std::int64_t r) {
  return static_cast<const float*>(scores.row(i))[r];
}

std::int32_t count_at(const MatrixView& counts, std::int64_t i) {
  return *static_cast<const std::int32_t*>(counts.row(i));
}

Manifest empty_manifest(std::int64_t rows, std::int64_t k) {
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = kShardRows;
  manifest.columns = {
      {kIds, id_dtype(rows), k}, {kScores, DType::float32, k}, {kCounts, DType::int32}};
  return manifest;
}

json attributes_of(const HardPairs::Origin& origin) {
  return {{"fingerprint", origin.fingerprint},
          {"keys_fingerprint", origin.keys_fingerprint},
          {"options", parse_json_object(origin.options_json, "the mining options")},
          {"report", parse_json_object(origin.report_json, "the mining report")}};
}

// The first rule of a table that row i breaks, or an empty string.
std::string fault_of(const MatrixView& ids, const MatrixView& scores, const MatrixView& counts,
                     std::int64_t i) {
  const std::int32_t count = count_at(counts, i);
  const auto place = [i](std::int64_t r) {
    return "target " + std::to_string(i) + ", rank " + std::to_string(r);
  };
  if (count < 0 || count > ids.cols) {
    return "target " + std::to_string(i) + " has the count " + std::to_string(count) +
           ", outside 0 .. " + std::to_string(ids.cols);
  }
  for (std::int64_t r = 0; r < ids.cols; ++r) {
    const std::int64_t id = id_at(ids, i, r);
    const float score = score_at(scores, i, r);
    if (r >= count) {
      if (id != -1 || score != 0.0F) {
        return place(r) + " lies beyond the count and must be -1 and 0";
      }
      continue;
    }
    if (id < 0 || id >= ids.rows) {
      return place(r) + " has the id " + std::to_string(id) + ", outside 0 .. " +
             std::to_string(ids.rows - 1);
    }
    if (id == i) return place(r) + " names the target itself";
    if (!std::isfinite(score)) return place(r) + " has a score that is not finite";
  }
  return {};
}

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
  if (k < 1 || manifest.columns != empty_manifest(reader.rows(), k).columns) {
    throw damaged("its columns are not those of a table of hard pairs");
  }
  state->ids = reader.column(kIds);
  state->scores = reader.column(kScores);
  state->counts = reader.column(kCounts);
  try {
    const json& attributes = manifest.attributes;
    state->origin.fingerprint = attributes.at("fingerprint").get<std::string>();
    state->origin.keys_fingerprint = attributes.at("keys_fingerprint").get<std::string>();
    state->origin.options_json = attributes.at("options").dump();
    state->origin.report_json = attributes.at("report").dump();
  } catch (const json::exception& error) {
    throw damaged(error.what());
  }
  // Ids steer training, so a flipped bit in them must show before the first batch.
  reader.verify({kIds, kCounts}, {});
  for (std::int64_t i = 0; i < reader.rows(); ++i) {
    const std::string fault = fault_of(state->ids, state->scores, state->counts, i);
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
    const std::string fault = fault_of(ids, scores, counts, i);
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
  ColumnWriter writer(path, empty_manifest(size(), k()), false);
  for (std::int64_t first = 0; first < size(); first += kCopyRows) {
    const std::int64_t rows = std::min(kCopyRows, size() - first);
    writer.append(rows, {ids().row(first), scores().row(first), counts().row(first)}, nullptr);
  }
  writer.commit([&](Manifest& manifest) { manifest.attributes = attributes_of(origin()); });
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

HardPairsWriter::HardPairsWriter(fs::path path, std::int64_t rows, std::int64_t k)
    : impl_(std::make_unique<Impl>()) {
  impl_->path = std::move(path);
  impl_->rows = rows;
  impl_->k = k;
  if (impl_->path.empty()) {
    impl_->state = std::make_shared<HardPairs::State>();
    impl_->state->resize(rows, k);
  } else {
    impl_->columns.emplace(impl_->path, empty_manifest(rows, k), false);
  }
}

HardPairsWriter::~HardPairsWriter() = default;

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
  impl.columns->commit([&](Manifest& manifest) { manifest.attributes = attributes; });
  return HardPairs::open(impl.path);
}

}  // namespace helip
