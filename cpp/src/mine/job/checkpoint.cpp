#include "mine/job/checkpoint.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "io/file.h"
#include "io/manifest.h"
#include "mine/bound/row_order.h"
#include "mine/job/report.h"

namespace helip::mining {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "helip.mining_checkpoint";
constexpr const char* kStatePrefix = "state-";
constexpr double kShare = 0.02;  // of the time, at most, goes to saving

// Whether nothing was found yet: then there are no pairs in the file.
bool is_empty(const std::vector<std::uint32_t>& sizes) {
  return std::ranges::all_of(sizes, [](std::uint32_t size) { return size == 0; });
}

// Of an interrupted job, if there is one.
std::optional<Manifest> manifest_in(const fs::path& folder) {
  if (!has_manifest(folder)) return {};
  Manifest manifest;
  try {
    manifest = read_manifest(folder, kFormat);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt) throw;
    throw_damaged_checkpoint(folder, error.what());
  }
  const Json& attributes = manifest.attributes;
  if (manifest.shards.size() != 1 || !attributes.contains("progress") ||
      !attributes.contains("identity") || !attributes["identity"].contains("method") ||
      !attributes["identity"]["method"].is_string()) {
    throw_damaged_checkpoint(folder, "its manifest is not that of a checkpoint");
  }
  return manifest;
}

// Of the job of this identity.
StateFile open_state(const fs::path& folder, const Manifest& manifest, const OrderedJson& identity,
                     SavedPools pools) {
  const std::string differs = differences(OrderedJson(manifest.attributes["identity"]), identity);
  if (!differs.empty()) {
    throw Error(ErrorCode::mismatch, quoted(folder) + " was left by an interrupted job that was " +
                                         "another (" + differs +
                                         "); go on as it was begun, or remove that folder");
  }
  const ShardRecord& state = manifest.shards.front();
  try {
    return {folder, manifest.attributes["progress"], TensorFile(folder / state.file, state), pools};
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt && path_exists(folder / state.file)) throw;
    throw_damaged_checkpoint(folder, error.what());
  }
}

}  // namespace

OthersCheckpoint::OthersCheckpoint(const fs::path& folder, OrderedJson identity, SavedPools pools) {
  if (const auto manifest = manifest_in(folder)) {
    found_.emplace(open_state(folder, *manifest, with_program(std::move(identity)), pools));
  }
}

fs::path checkpoint_folder(const fs::path& out) {
  fs::path name = out;
  if (!name.has_filename()) name = name.parent_path();  // "cc3m.pairs/"
  name += ".checkpoint";
  return name;
}

std::optional<MiningMethod> method_of_checkpoint(const fs::path& folder) {
  const auto manifest = manifest_in(folder);
  if (!manifest) return {};
  return method_from_name(manifest->attributes["identity"]["method"].get<std::string>());
}

Checkpoint::Checkpoint(fs::path folder, OrderedJson identity, double seconds,
                       const ProgressCallback& progress)
    : folder_(std::move(folder)),
      identity_(with_program(std::move(identity))),
      seconds_(seconds),
      progress_(progress) {
  const auto manifest = manifest_in(folder_);
  if (!manifest) {
    remove_all_but({});
    return;
  }
  found_.emplace(open_state(folder_, *manifest, identity_, SavedPools::whole));
  remove_all_but(manifest->shards.front().file);
  saved_ = manifest->next_shard;
}

// What a process left that was killed while it saved.
void Checkpoint::remove_all_but(const std::string& state) const noexcept {
  remove_leftovers(folder_, state,
                   [](const std::string& name) { return name.starts_with(kStatePrefix); });
}

bool Checkpoint::due() const noexcept {
  if (seconds_ == 0.0) return true;
  const double since = std::chrono::duration<double>(Clock::now() - last_).count();
  return since >= std::max(seconds_, took_ / kShare);
}

void Checkpoint::save(const MethodState& state) {
  const StateColumns columns(state);
  const Clock::time_point begin = Clock::now();
  make_directory(folder_);
  std::int64_t all = 0;
  for (const Tensor& tensor : columns.tensors()) all += tensor.bytes();
  std::int64_t done = 0;
  const auto advance = [&](std::int64_t bytes) {
    done += bytes;
    if (progress_ && !progress_({"save", done, all})) {
      throw Error(ErrorCode::cancelled, "mining was stopped in stage 'save' at byte " +
                                            std::to_string(done) + " of " + std::to_string(all));
    }
  };
  Manifest manifest;
  manifest.format = kFormat;
  manifest.shard_rows = 1;
  manifest.shards = {write_tensors(folder_, kStatePrefix + std::to_string(saved_) + ".safetensors",
                                   columns.tensors(), advance)};
  manifest.generation = manifest.next_shard = ++saved_;
  manifest.attributes = {{"identity", identity_}, {"progress", columns.progress()}};
  write_manifest(folder_, manifest);
  found_.reset();
  remove_all_but(manifest.shards.front().file);
  last_ = Clock::now();
  took_ = std::chrono::duration<double>(last_ - begin).count();
}

void Checkpoint::remove() noexcept {
  found_.reset();
  // First what makes the rest count.
  remove_file_in(folder_, kManifestName);
  remove_all_but({});
  remove_empty_directory(folder_);
}

namespace fs = std::filesystem;

void throw_damaged_checkpoint(const fs::path& folder, const std::string& what) {
  throw Error(ErrorCode::corrupt, "the checkpoint \"" + folder.string() + "\" is damaged: " + what +
                                      "; remove that folder, and the job begins again");
}

StateColumns::StateColumns(const MethodState& state) {
  show_order(*state.order, columns_);
  columns_.show("sample.scores", state.sample->scores);
  columns_.show("sample.counts", state.sample->counts);
  if (state.pools != nullptr) add_pools(state);
  if (state.next) {
    progress_["next"] = *state.next;
    progress_["recalls"] = Json::array();
    for (const RecallEstimate& recall : state.recalls) {
      progress_["recalls"].push_back(Json(recall_json(recall)));
    }
  }
  if (!state.neighbours.empty()) columns_.show("neighbours", state.neighbours);
}

void StateColumns::add_pools(const MethodState& state) {
  PoolColumns pools = state.pools->columns(state.pool_count);
  if (is_empty(pools.sizes)) {
    pools.scores = {};
    pools.ids = {};
  }
  columns_.show("pools.scores", pools.scores);
  columns_.show("pools.ids", pools.ids);
  columns_.keep("pools.held", std::move(pools.sizes));
  columns_.keep("pools.needs", std::move(pools.thresholds));
  columns_.keep("kept_out.numbers", std::move(pools.kept_out_sizes));
  columns_.keep("kept_out.ids", std::move(pools.kept_out_ids));
  columns_.keep("kept_out.scores", std::move(pools.kept_out_scores));
  columns_.keep("kept_out.verdicts", std::move(pools.kept_out_verdicts));
}

StateFile::StateFile(fs::path folder, Json progress, TensorFile file, SavedPools pools)
    : folder_(std::move(folder)),
      progress_(std::move(progress)),
      file_(std::move(file)),
      pools_(pools) {}

void StateFile::require(bool condition, const char* what) const {
  if (!condition) damaged(what);
}

std::int64_t StateFile::number(const char* name, std::int64_t least, std::int64_t most) const {
  const std::int64_t value = checked([&] { return integer_of(progress_.at(name)); });
  if (value < least || value > most) {
    damaged(std::string(name) + " is " + std::to_string(value) + ", outside " +
            std::to_string(least) + " .. " + std::to_string(most));
  }
  return value;
}

void StateFile::damaged(const std::string& what) const { throw_damaged_checkpoint(folder_, what); }

RowOrder StateFile::order(const Corpus& corpus, std::int64_t directions) const {
  return checked([&] { return read_order(file_, corpus.size(), directions); });
}

void StateFile::read_sample(HardPairBand& band) const {
  read("sample.scores", std::span(band.scores));
  read("sample.counts", std::span(band.counts));
  for (const std::int32_t wanted : band.counts) {
    require(wanted >= 0 && wanted <= band.k, "a pool of the sample is none");
  }
}

std::int64_t StateFile::read_pools(Pools& pools, std::int64_t rows, std::int64_t least) const {
  std::vector<std::uint32_t> sizes = read<std::uint32_t>("pools.held");
  const auto count = static_cast<std::int64_t>(sizes.size());
  require(count <= pools.size(), "it has more pools than there are rows");
  require(count >= least, "it has fewer pools than there are rows");
  if (pools_ == SavedPools::thresholds) {
    const std::vector<float> thresholds = read<float>("pools.needs");
    require(thresholds.size() == sizes.size(), "it has not a threshold for each pool");
    for (std::int64_t target = 0; target < count; ++target) {
      pools.raise_threshold(target, thresholds[static_cast<std::size_t>(target)]);
    }
    return count;
  }
  PoolColumns columns = pools.columns(count);
  columns.sizes = std::move(sizes);
  if (!is_empty(columns.sizes)) {
    read("pools.scores", columns.scores);
    read("pools.ids", columns.ids);
  }
  read("pools.needs", std::span(columns.thresholds));
  read("kept_out.numbers", std::span(columns.kept_out_sizes));
  columns.kept_out_ids = read<std::uint32_t>("kept_out.ids");
  columns.kept_out_scores = read<double>("kept_out.scores");
  columns.kept_out_verdicts = read<std::uint8_t>("kept_out.verdicts");

  const auto check_row = [&](std::uint32_t id) {
    require(std::int64_t{id} < rows, "it names a row that there is not");
  };
  for (std::size_t target = 0; target < columns.sizes.size(); ++target) {
    require(columns.sizes[target] <= columns.capacity, "a pool is larger than it can be");
    const auto own = columns.ids.subspan(target * static_cast<std::size_t>(columns.capacity),
                                         columns.sizes[target]);
    for (const std::uint32_t id : own) check_row(id);
  }
  std::uint64_t kept_out = 0;
  for (const std::uint32_t size : columns.kept_out_sizes) kept_out += size;
  require(kept_out == columns.kept_out_ids.size() && kept_out == columns.kept_out_scores.size() &&
              kept_out == columns.kept_out_verdicts.size(),
          "what was kept out of the pools is not whole");
  for (const std::uint32_t id : columns.kept_out_ids) check_row(id);
  for (const std::uint8_t verdict : columns.kept_out_verdicts) {
    require(verdict < kVerdicts, "a verdict is none");
  }
  pools.restore(columns);
  return count;
}

std::int64_t StateFile::next(std::int64_t places) const { return number("next", 0, places - 1); }

std::vector<RecallEstimate> StateFile::recalls() const {
  std::vector<RecallEstimate> recalls;
  return checked([&] {
    for (const Json& recall : progress_.at("recalls")) recalls.push_back(recall_of_json(recall));
    return recalls;
  });
}

void StateFile::read_neighbours(std::span<std::uint32_t> neighbours, std::int64_t places,
                                std::uint32_t none) const {
  read("neighbours", neighbours);
  for (const std::uint32_t neighbour : neighbours) {
    require(neighbour == none || neighbour < places, "a neighbour is none of the rows");
  }
}

}  // namespace helip::mining
