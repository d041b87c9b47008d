#include "helip/shares.h"

#include <algorithm>
#include <cstdio>
#include <numeric>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "helip/hard_pairs_part.h"
#include "helip/hard_pairs_writer.h"
#include "io/damaged_content.h"
#include "io/file.h"
#include "io/manifest.h"
#include "io/tensor_columns.h"
#include "io/tensor_file.h"
#include "mine/bound/sweep.h"
#include "mine/budget/budget.h"
#include "mine/corpus/mine_options.h"
#include "mine/job/job.h"
#include "mine/job/report.h"
#include "mine/pool/bands.h"
#include "mine/pool/pools.h"

namespace helip {
namespace {

using namespace mining;

namespace fs = std::filesystem;

constexpr const char* kFormat = "helip.mining_share";
constexpr std::int64_t kBandRows = 65536;  // that are united at a time

fs::path ranges_place(const fs::path& folder) { return folder / "ranges"; }

fs::path place_of(const fs::path& folder, const Share& share) {
  char name[64];
  std::snprintf(name, sizeof name, "%s-%05lld-of-%05lld",
                share.step == Share::within ? "within" : "across",
                static_cast<long long>(share.index), static_cast<long long>(share.count));
  return folder / name;
}

MineOptions share_options(const EmbeddingStore& store, std::int64_t count, MineOptions options) {
  if (options.method == MiningMethod::automatic) options.method = MiningMethod::exact;
  if (options.method != MiningMethod::exact) {
    throw Error(ErrorCode::unsupported, std::string("method is '") + name_of(options.method) +
                                            "'; pairs are shared out for 'exact'");
  }
  options.parts = 1;
  validate(store.image(), store.text(), options);
  check_number("shares", count, store.size());
  return options;
}

// Ranges whose rows `index` compares with its own: those that follow it in a ring of `count`, so
// that each two ranges meet once.
std::vector<std::int64_t> followers(std::int64_t index, std::int64_t count) {
  std::vector<std::int64_t> found;
  for (std::int64_t step = 1; 2 * step <= count; ++step) {
    if (2 * step == count && index > count / 2) break;  // the other one of the two compares them
    found.push_back((index + step - 1) % count + 1);
  }
  return found;
}

// Files of one job in directories that are there whole or not at all.
class ShareFiles {
 public:
  ShareFiles(const EmbeddingStore& store, const MineOptions& options, std::int64_t count)
      : identity_(identity_of(store, options)) {
    identity_["shares"] = count;
  }

  // Whether it is there.
  bool has(const fs::path& place) const {
    if (!has_manifest(place)) return false;
    (void)open(place);
    return true;
  }

  TensorFile open(const fs::path& place) const {
    const Manifest manifest = read_manifest(place, kFormat);
    const OrderedJson there(manifest.attributes.value("identity", Json::object()));
    if (const std::string differs = differences(there, identity_); !differs.empty()) {
      throw Error(ErrorCode::mismatch, quoted(place) + " belongs to another job (" + differs +
                                           "); go on as it was begun, or remove that folder");
    }
    if (manifest.shards.size() != 1) throw_damaged(place, "it has not one file");
    return {place / manifest.shards.front().file, manifest.shards.front()};
  }

  void save(const fs::path& place, const TensorColumns& columns) const {
    make_directory(place);
    const DirectoryLock lock(place);
    if (has(place)) return;  // by another attempt
    Manifest manifest;
    manifest.format = kFormat;
    manifest.generation = manifest.next_shard = manifest.shard_rows = 1;
    manifest.attributes = {{"identity", identity_}};
    manifest.shards = {write_tensors(place, "share.safetensors", columns.tensors())};
    write_manifest(place, manifest);
  }

 private:
  OrderedJson identity_;
};

// The rows of the range `index`.
std::vector<std::uint32_t> rows_of(const std::vector<std::uint32_t>& rows, std::int64_t index,
                                   std::int64_t count) {
  const PartRange range{index, count, static_cast<std::int64_t>(rows.size())};
  return {rows.begin() + range.first(), rows.begin() + range.last()};
}

std::string in_band(const char* name, std::int64_t band) {
  return std::string(name) + "-" + std::to_string(band);
}

// Pools and what was kept out of them, ordered by rows and cut into bands of these.
TensorColumns columns_of(Pools& pools, const std::vector<std::uint32_t>& rows) {
  const PoolColumns all = pools.columns(pools.size());
  std::vector<std::size_t> kept_out_at(rows.size() + 1);
  std::partial_sum(all.kept_out_sizes.begin(), all.kept_out_sizes.end(), kept_out_at.begin() + 1);
  std::vector<std::uint32_t> targets(rows.size());
  std::iota(targets.begin(), targets.end(), 0U);
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
void unite(const TensorFile& file, std::int64_t first, const std::vector<std::int64_t>& slots,
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

// What is known of the thresholds of these rows from the shares within their ranges.
void raise_thresholds(const ShareFiles& files, const std::vector<fs::path>& places,
                      const std::vector<std::uint32_t>& rows, std::int64_t all, Pools& pools) {
  std::vector<float> thresholds(static_cast<std::size_t>(all));
  for (const fs::path& place : places) {
    const TensorFile file = files.open(place);
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

}  // namespace

void prepare_shares(const EmbeddingStore& store, std::int64_t count, const MineOptions& asked,
                    const fs::path& folder, const ProgressCallback& progress) {
  entry_point([&] {
    const MineOptions options = share_options(store, count, asked);
    const ShareFiles files(store, options, count);
    if (files.has(ranges_place(folder))) return;
    Job job(store.image(), store.text(), options, scratch_folder(folder), progress);
    job.keep_codes_of(store);
    job.make_codes();
    TensorColumns columns;
    columns.show("rows", job.context().prepared().order().rows);
    files.save(ranges_place(folder), columns);
  });
}

void mine_share(const EmbeddingStore& store, const Share& share, const MineOptions& asked,
                const fs::path& folder, const ProgressCallback& progress) {
  entry_point([&] {
    const MineOptions options = share_options(store, share.count, asked);
    if (share.index < 1 || share.index > share.count) {
      throw Error(ErrorCode::invalid_argument, "the share is " + std::to_string(share.index) +
                                                   " of " + std::to_string(share.count) +
                                                   "; shares count from 1 to their number");
    }
    const ShareFiles files(store, options, share.count);
    const fs::path place = place_of(folder, share);
    if (files.has(place)) return;
    Job job(store.image(), store.text(), options, scratch_folder(folder), progress);
    job.keep_codes_of(store);
    MethodContext& context = job.context();
    PreparedCorpus& prepared = context.prepared();
    const auto ranges = read_column<std::uint32_t>(files.open(ranges_place(folder)), "rows");

    SweepJob sweep;
    sweep.targets = prepared.places_of(rows_of(ranges, share.index, share.count));
    std::vector<fs::path> known;  // shares whose thresholds hold here
    if (share.step == Share::within) {
      sweep.mutual = true;
    } else {
      std::vector<std::uint32_t> others;
      known.push_back(place_of(folder, {share.index, share.count}));
      for (const std::int64_t other : followers(share.index, share.count)) {
        const auto more = rows_of(ranges, other, share.count);
        others.insert(others.end(), more.begin(), more.end());
        known.push_back(place_of(folder, {other, share.count}));
      }
      sweep.others = prepared.places_of(others);
      const auto targets = static_cast<std::int32_t>(sweep.targets.size());
      sweep.other_numbers.resize(sweep.others.size());
      std::iota(sweep.other_numbers.begin(), sweep.other_numbers.end(), targets);
    }
    std::vector<std::uint32_t> rows;
    for (const auto* places : {&sweep.targets, &sweep.others}) {
      for (const std::uint32_t at : *places) rows.push_back(prepared.order().rows[at]);
    }
    const std::int64_t bytes =
        static_cast<std::int64_t>(rows.size()) * Pools::bytes_per_target(options.k, options.skip);
    Pools pools(context.corpus, rows, options.k, options.skip, context.groups,
                bytes > prepared.memory_left() ? context.scratch : fs::path());
    context.team.begin_stage("mine", static_cast<std::int64_t>(sweep.targets.size()),
                             std::max<std::int64_t>(1, Sweep::work(sweep)));
    if (share.step == Share::within) {
      prepared.sweep().seed(sweep, context.kept(), pools, context.team);
    } else {
      raise_thresholds(files, known, rows, context.corpus.size(), pools);
    }
    if (!sweep.targets.empty()) prepared.sweep().run(sweep, pools, context.team);
    context.team.end_stage();
    job.end_sweep();
    files.save(place, columns_of(pools, rows));
  });
}

HardPairs merge_shares(const EmbeddingStore& store, std::int64_t count, const MineOptions& asked,
                       const fs::path& folder, const fs::path& out,
                       const ProgressCallback& progress) {
  return entry_point([&] {
    const MineOptions options = share_options(store, count, asked);
    const ShareFiles files(store, options, count);
    std::vector<fs::path> places;
    std::vector<TensorFile> shares;
    for (const auto step : {Share::within, Share::across}) {
      for (std::int64_t index = 1; index <= count; ++index) {
        places.push_back(place_of(folder, {index, count, step}));
        shares.push_back(files.open(places.back()));
      }
    }
    const std::int64_t rows = store.size();
    HardPairsWriter writer(out, rows, options.k);
    Job job(store.image(), store.text(), options, scratch_folder(out), progress);
    job.keep_codes_of(store);
    MethodContext& context = job.context();
    MethodReport report;
    context.team.begin_stage("merge", rows, rows);
    for (std::int64_t first = 0; first < rows; first += kBandRows) {
      const std::int64_t last = std::min(rows, first + kBandRows);
      std::vector<std::int64_t> slots(static_cast<std::size_t>(last - first), -1);
      std::vector<std::uint32_t> own;
      for (std::int64_t row = first; row < last; ++row) {
        if (context.corpus.is_zero(row)) continue;
        slots[static_cast<std::size_t>(row - first)] = static_cast<std::int64_t>(own.size());
        own.push_back(static_cast<std::uint32_t>(row));
      }
      Pools pools(context.corpus, std::move(own), options.k, options.skip, context.groups);
      context.team.for_blocks(static_cast<std::int64_t>(shares.size()), 1,
                              [&](std::int64_t i, std::int64_t, int) {
                                const auto at = static_cast<std::size_t>(i);
                                read_or_damaged(
                                    [&] {
                                      unite(shares[at], first, slots, rows, pools);
                                      return true;
                                    },
                                    [&](const char* what) { throw_damaged(places[at], what); });
                              });
      write_pools(pools, slots, first, options.k, writer, report.drops, context.team);
    }
    context.team.end_stage();
    job.end_sweep();
    HardPairs::Origin origin{
        store.fingerprint(), store.data_fingerprint(), options_json(options), {}};
    origin.report_json =
        report_json(report, &context.prepared().plan(), options, {0, rows, 0, rows}, rows, {});
    HardPairs table = writer.finish(std::move(origin));
    remove_directory(folder);
    return table;
  });
}

}  // namespace helip
