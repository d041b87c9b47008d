#include "helip/hard_pairs_part.h"

#include <algorithm>
#include <utility>

#include "helip/error.h"
#include "io/column_writer.h"
#include "table/pair_columns.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFormat = "helip.hard_pairs_part";
constexpr std::int64_t kMostRows = std::int64_t{1} << 40;  // more is no data set of this library

}  // namespace

struct HardPairsPart::State {
  std::shared_ptr<const ColumnReader> reader;
  MatrixView ids;
  MatrixView scores;
  MatrixView counts;
  PartRange range;
  HardPairs::Origin origin;
};

HardPairsPart::HardPairsPart(std::shared_ptr<const State> state) : state_(std::move(state)) {}

HardPairsPart HardPairsPart::open(const fs::path& path) {
  auto state = std::make_shared<State>();
  state->reader = open_columns(path, kFormat);
  const ColumnReader& reader = *state->reader;
  const Manifest& manifest = reader.manifest();
  const auto damaged = [&](const std::string& what) {
    return Error(ErrorCode::corrupt, "\"" + path.string() + "\" is damaged: " + what +
                                         "; remove it and mine this part again");
  };
  PartRange& range = state->range;
  try {
    const json& part = manifest.attributes.at("part");
    range.index = part.at("index").get<std::int64_t>();
    range.count = part.at("count").get<std::int64_t>();
    range.rows = part.at("rows").get<std::int64_t>();
    state->origin = origin_of(manifest.attributes);
  } catch (const json::exception& error) {
    throw damaged(error.what());
  }
  if (range.rows < 0 || range.rows > kMostRows || range.count < 1 || range.index < 1 ||
      range.index > range.count || range.size() != reader.rows()) {
    throw damaged("it has " + std::to_string(reader.rows()) + " rows, and says that it is part " +
                  std::to_string(range.index) + " of " + std::to_string(range.count) + " of " +
                  std::to_string(range.rows));
  }
  const std::int64_t k = manifest.columns.empty() ? 0 : manifest.columns[0].cols;
  if (k < 1 || manifest.columns != pair_manifest(kFormat, range.rows, k).columns) {
    throw damaged("its columns are not those of hard pairs");
  }
  state->ids = reader.column(kIdsColumn);
  state->scores = reader.column(kScoresColumn);
  state->counts = reader.column(kCountsColumn);
  return HardPairsPart(std::move(state));
}

void HardPairsPart::verify() const {
  const State& state = *state_;
  state.reader->verify({}, {});
  for (std::int64_t i = 0; i < state.counts.rows; ++i) {
    const std::string fault =
        fault_of(state.ids, state.scores, state.counts, i, state.range.first(), state.range.rows);
    if (!fault.empty()) {
      throw Error(ErrorCode::corrupt, "\"" + path().string() + "\" is damaged: " + fault +
                                          "; remove it and mine this part again");
    }
  }
}

const fs::path& HardPairsPart::path() const noexcept { return state_->reader->directory(); }
const PartRange& HardPairsPart::range() const noexcept { return state_->range; }
std::int64_t HardPairsPart::k() const noexcept { return state_->ids.cols; }
MatrixView HardPairsPart::ids() const noexcept { return state_->ids; }
MatrixView HardPairsPart::scores() const noexcept { return state_->scores; }
MatrixView HardPairsPart::counts() const noexcept { return state_->counts; }
const HardPairs::Origin& HardPairsPart::origin() const noexcept { return state_->origin; }

HardPairBand HardPairsPart::band(std::int64_t first, std::int64_t rows) const {
  const State& state = *state_;
  const std::int64_t begin = first - state.range.first();
  if (begin < 0 || rows < 0 || begin + rows > state.range.size()) {
    throw Error(ErrorCode::invalid_argument,
                "targets " + std::to_string(first) + " .. " + std::to_string(first + rows) +
                    " are not all of part " + std::to_string(state.range.index) + ", which has " +
                    std::to_string(state.range.first()) + " .. " +
                    std::to_string(state.range.last()));
  }
  HardPairBand band;
  band.first = first;
  band.k = k();
  for (std::int64_t i = begin; i < begin + rows; ++i) {
    for (std::int64_t r = 0; r < band.k; ++r) {
      band.ids.push_back(id_at(state.ids, i, r));
      band.scores.push_back(score_at(state.scores, i, r));
    }
    band.counts.push_back(count_at(state.counts, i));
  }
  return band;
}

struct HardPairsPartWriter::Impl {
  fs::path path;
  PartRange range;
  std::int64_t k;
  std::int64_t next;  // target that the next band must start at
  ColumnWriter columns;
};

HardPairsPartWriter::HardPairsPartWriter(fs::path path, const PartRange& range, std::int64_t k)
    : impl_(new Impl{path, range, k, range.first(),
                     ColumnWriter(path, pair_manifest(kFormat, range.rows, k), false)}) {}

HardPairsPartWriter::~HardPairsPartWriter() = default;

void HardPairsPartWriter::write(const HardPairBand& band) {
  Impl& impl = *impl_;
  const auto rows = static_cast<std::int64_t>(band.counts.size());
  if (band.first != impl.next || band.k != impl.k || impl.next + rows > impl.range.last()) {
    throw Error(ErrorCode::invalid_argument,
                "a band of targets " + std::to_string(band.first) + " .. " +
                    std::to_string(band.first + rows) + " with k = " + std::to_string(band.k) +
                    " does not follow target " + std::to_string(impl.next) +
                    " of a part that ends at " + std::to_string(impl.range.last()) +
                    " with k = " + std::to_string(impl.k));
  }
  impl.next += rows;
  std::vector<std::int32_t> narrow;
  const void* ids = band.ids.data();
  if (id_dtype(impl.range.rows) == DType::int32) {
    narrow.assign(band.ids.begin(), band.ids.end());
    ids = narrow.data();
  }
  impl.columns.append(rows, {ids, band.scores.data(), band.counts.data()}, nullptr);
}

HardPairsPart HardPairsPartWriter::finish(const HardPairs::Origin& origin) {
  Impl& impl = *impl_;
  if (impl.next != impl.range.last()) {
    throw Error(ErrorCode::invalid_argument,
                "the part ends at target " + std::to_string(impl.range.last()) + ", but only " +
                    "those before " + std::to_string(impl.next) + " were written");
  }
  json attributes = attributes_of(origin);
  attributes["part"] = {
      {"index", impl.range.index}, {"count", impl.range.count}, {"rows", impl.range.rows}};
  impl.columns.close([&](Manifest& manifest) { manifest.attributes = attributes; });
  return HardPairsPart::open(impl.path);
}

}  // namespace helip
