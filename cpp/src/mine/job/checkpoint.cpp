#include "mine/job/checkpoint.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "io/file.h"
#include "io/manifest.h"
#include "mine/job/job_identity.h"

namespace helip::mining {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "helip.mining_checkpoint";
constexpr const char* kStatePrefix = "state-";
constexpr double kShare = 0.02;  // of the time, at most, goes to saving

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

}  // namespace

fs::path checkpoint_folder(const fs::path& out) {
  fs::path name = out;
  if (!name.has_filename()) name = name.parent_path();  // "cc3m.pairs/"
  name += ".checkpoint";
  return name;
}

std::optional<MiningMethod> begun_method(const fs::path& folder) {
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
  const std::string differs = differences(OrderedJson(manifest->attributes["identity"]), identity_);
  if (!differs.empty()) {
    throw Error(ErrorCode::mismatch, quoted(folder_) + " was left by an interrupted job that was " +
                                         "another (" + differs +
                                         "); go on as it was begun, or remove that folder");
  }
  const ShardRecord& state = manifest->shards.front();
  remove_all_but(state.file);
  try {
    found_.emplace(folder_, manifest->attributes["progress"],
                   TensorFile(folder_ / state.file, state));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::corrupt && path_exists(folder_ / state.file)) throw;
    throw_damaged_checkpoint(folder_, error.what());
  }
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

}  // namespace helip::mining
