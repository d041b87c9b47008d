#include "mine/job/share_files.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <string>
#include <utility>

#include "helip/error.h"
#include "io/damaged_content.h"
#include "io/file.h"
#include "io/manifest.h"
#include "mine/job/report.h"

namespace helip::mining {
namespace {

namespace fs = std::filesystem;

constexpr const char* kShareFormat = "helip.mining_share";

std::string in_band(const char* name, std::int64_t band) {
  return std::string(name) + "-" + std::to_string(band);
}

// Pools and what was kept out of them, ordered by rows and cut into bands of these.
TensorColumns columns_of(Pools& pools, const std::vector<std::uint32_t>& rows, bool with_empty) {
  const PoolColumns all = pools.columns(pools.size());
  std::vector<std::size_t> kept_out_at(rows.size() + 1);
  std::partial_sum(all.kept_out_sizes.begin(), all.kept_out_sizes.end(), kept_out_at.begin() + 1);
  std::vector<std::uint32_t> targets;
  for (std::uint32_t target = 0; target < rows.size(); ++target) {
    if (with_empty || all.sizes[target] + all.kept_out_sizes[target] > 0) targets.push_back(target);
  }
  std::ranges::sort(targets, {}, [&](std::uint32_t target) { return rows[target]; });

  TensorColumns columns;
  for (std::size_t begin = 0; begin < targets.size();) {
    const std::int64_t band = rows[targets[begin]] / kBandRows;
    std::vector<std::uint32_t> own, sizes, ids, kept_out_sizes, kept_out_ids;
    std::vector<double> scores, kept_out_scores;
    std::vector<std::uint8_t> kept_out_verdicts;
    std::vector<float> thresholds;
    std::size_t end = begin;
    for (; end < targets.size() && rows[targets[end]] / kBandRows == band; ++end) {
      const std::size_t target = targets[end];
      own.push_back(rows[target]);
      thresholds.push_back(all.thresholds[target]);
      sizes.push_back(all.sizes[target]);
      const auto first = static_cast<std::ptrdiff_t>(target) * all.capacity;
      const auto last = first + all.sizes[target];
      ids.insert(ids.end(), all.ids.begin() + first, all.ids.begin() + last);
      scores.insert(scores.end(), all.scores.begin() + first, all.scores.begin() + last);
      kept_out_sizes.push_back(all.kept_out_sizes[target]);
      for (std::size_t i = kept_out_at[target]; i < kept_out_at[target + 1]; ++i) {
        kept_out_ids.push_back(all.kept_out_ids[i]);
        kept_out_scores.push_back(all.kept_out_scores[i]);
        kept_out_verdicts.push_back(all.kept_out_verdicts[i]);
      }
    }
    columns.keep(in_band("rows", band), std::move(own));
    columns.keep(in_band("thresholds", band), std::move(thresholds));
    columns.keep(in_band("sizes", band), std::move(sizes));
    columns.keep(in_band("ids", band), std::move(ids));
    columns.keep(in_band("scores", band), std::move(scores));
    columns.keep(in_band("kept_out_sizes", band), std::move(kept_out_sizes));
    columns.keep(in_band("kept_out_ids", band), std::move(kept_out_ids));
    columns.keep(in_band("kept_out_scores", band), std::move(kept_out_scores));
    columns.keep(in_band("kept_out_verdicts", band), std::move(kept_out_verdicts));
    begin = end;
  }
  return columns;
}

// What a share found for the rows of a band, to their pools. `slots`: of the rows from `first` on.
void unite_share(const TensorFile& file, std::int64_t first, std::span<const std::int64_t> slots,
                 std::int64_t all, Pools& pools) {
  const std::int64_t band = first / kBandRows;
  if (!file.has(in_band("rows", band))) return;
  const auto rows = read_column<std::uint32_t>(file, in_band("rows", band));
  const auto offer = [&](const char* sizes_name, const char* ids_name, const char* scores_name,
                         const char* verdicts_name) {
    const auto sizes = read_column<std::uint32_t>(file, in_band(sizes_name, band));
    const auto ids = read_column<std::uint32_t>(file, in_band(ids_name, band));
    const auto scores = read_column<double>(file, in_band(scores_name, band));
    std::vector<std::uint8_t> verdicts(ids.size());  // kept
    if (verdicts_name != nullptr) {
      verdicts = read_column<std::uint8_t>(file, in_band(verdicts_name, band));
    }
    require_sound(sizes.size() == rows.size() && scores.size() == ids.size() &&
                      verdicts.size() == ids.size() &&
                      std::accumulate(sizes.begin(), sizes.end(), std::size_t{0}) == ids.size(),
                  "its pools have other lengths than they say");
    std::size_t at = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto place = static_cast<std::size_t>(static_cast<std::int64_t>(rows[i]) - first);
      require_sound(place < slots.size() && slots[place] >= 0, "it has pools of other rows");
      const std::int64_t slot = slots[place];
      for (const std::size_t end = at + sizes[i]; at < end; ++at) {
        require_sound(ids[at] < all && verdicts[at] < kVerdicts, "its pools hold other rows");
        pools.consider(slot, ids[at], scores[at], static_cast<Verdict>(verdicts[at]));
      }
    }
  };
  offer("sizes", "ids", "scores", nullptr);
  offer("kept_out_sizes", "kept_out_ids", "kept_out_scores", "kept_out_verdicts");
}

}  // namespace

ShareFiles::ShareFiles(fs::path folder, OrderedJson identity, std::int64_t count)
    : folder_(std::move(folder)), count_(count), identity_(std::move(identity)) {
  identity_["shares"] = count;
}

fs::path ShareFiles::place_of(std::int64_t step, std::int64_t index) const {
  char name[80];
  std::snprintf(name, sizeof name, "step-%02lld-%05lld-of-%05lld", static_cast<long long>(step),
                static_cast<long long>(index), static_cast<long long>(count_));
  return folder_ / name;
}

std::vector<fs::path> ShareFiles::places_of(std::int64_t step) const {
  std::vector<fs::path> places;
  for (std::int64_t index = 1; index <= count_; ++index) places.push_back(place_of(step, index));
  return places;
}

bool ShareFiles::has(const fs::path& place) const {
  if (!has_manifest(place)) return false;
  (void)open(place);
  return true;
}

TensorFile ShareFiles::open(const fs::path& place) const {
  const Manifest manifest = read_manifest(place, kShareFormat);
  const OrderedJson there(manifest.attributes.value("identity", Json::object()));
  if (const std::string differs = differences(there, identity_); !differs.empty()) {
    throw Error(ErrorCode::mismatch, quoted(place) + " belongs to another job (" + differs +
                                         "); go on as it was begun, or remove that folder");
  }
  if (manifest.shards.size() != 1) throw_damaged(place, "it has not one file");
  return {place / manifest.shards.front().file, manifest.shards.front()};
}

void ShareFiles::save(const fs::path& place, const TensorColumns& columns) const {
  make_directory(place);
  const DirectoryLock lock(place);
  if (has(place)) return;  // by another attempt
  Manifest manifest;
  manifest.format = kShareFormat;
  manifest.generation = manifest.next_shard = manifest.shard_rows = 1;
  manifest.attributes = {{"identity", identity_}};
  manifest.shards = {write_tensors(place, "share.safetensors", columns.tensors())};
  write_manifest(place, manifest);
}

void ShareFiles::save_pools(const fs::path& place, Pools& pools,
                            const std::vector<std::uint32_t>& rows, bool with_empty) const {
  save(place, columns_of(pools, rows, with_empty));
}

void ShareFiles::raise_thresholds(const std::vector<fs::path>& places,
                                  const std::vector<std::uint32_t>& rows, std::int64_t all,
                                  Pools& pools) const {
  std::vector<float> thresholds(static_cast<std::size_t>(all));
  for (const fs::path& place : places) {
    const TensorFile file = open(place);
    for (std::int64_t band = 0; band * kBandRows < all; ++band) {
      if (!file.has(in_band("rows", band))) continue;
      const auto own = read_column<std::uint32_t>(file, in_band("rows", band));
      const auto known = read_column<float>(file, in_band("thresholds", band));
      for (std::size_t i = 0; i < own.size(); ++i) thresholds.at(own[i]) = known.at(i);
    }
  }
  for (std::size_t target = 0; target < rows.size(); ++target) {
    pools.raise_threshold(static_cast<std::int64_t>(target), thresholds[rows[target]]);
  }
}

void ShareFiles::unite(const std::vector<fs::path>& places, std::int64_t first,
                       std::span<const std::int64_t> slots, std::int64_t all, Pools& pools,
                       Team& team) const {
  const auto count = static_cast<std::int64_t>(places.size());
  team.for_blocks(count, 1, [&](std::int64_t i, std::int64_t, int) {
    const fs::path& place = places[static_cast<std::size_t>(i)];
    const TensorFile file = open(place);
    read_or_damaged(
        [&] {
          unite_share(file, first, slots, all, pools);
          return true;
        },
        [&](const char* what) { throw_damaged(place, what); });
  });
}

}  // namespace helip::mining
