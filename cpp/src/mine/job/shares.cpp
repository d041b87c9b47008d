#include "helip/shares.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "helip/error.h"
#include "helip/hard_pairs_part.h"
#include "helip/hard_pairs_writer.h"
#include "io/file.h"
#include "io/manifest.h"
#include "io/tensor_columns.h"
#include "mine/bound/sweep.h"
#include "mine/budget/budget.h"
#include "mine/corpus/mine_options.h"
#include "mine/job/checkpoint.h"
#include "mine/job/job.h"
#include "mine/job/report.h"
#include "mine/job/share_files.h"
#include "mine/pool/bands.h"
#include "mine/pool/pools.h"

namespace helip {
namespace {

using namespace mining;

namespace fs = std::filesystem;

// Steps of a job that compares all pairs.
constexpr std::int64_t kWithin = 0;
constexpr std::int64_t kAcross = 1;
constexpr std::int64_t kMostSteps = 99;  // of others, which have some ten
constexpr double kNeverBetween = std::numeric_limits<double>::infinity();  // rounds: see Checkpoint

MineOptions share_options(const EmbeddingStore& store, std::int64_t count, MineOptions options) {
  if (options.method == MiningMethod::automatic) options.method = MiningMethod::exact;
  if (options.method != MiningMethod::exact && options.method != MiningMethod::partition) {
    throw Error(ErrorCode::unsupported, std::string("method is '") + name_of(options.method) +
                                            "'; work is shared out for 'exact' and 'partition'");
  }
  options.parts = 1;
  validate(matrices_of(store, options), options);
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

// The rows of the range `index`.
std::vector<std::uint32_t> rows_of(const std::vector<std::uint32_t>& rows, std::int64_t index,
                                   std::int64_t count) {
  const PartRange range{index, count, static_cast<std::int64_t>(rows.size())};
  return {rows.begin() + range.first(), rows.begin() + range.last()};
}

// The rows of a range among themselves, or with those of others.
void mine_ranges(Job& job, const ShareFiles& files, const Share& share) {
  const auto ranges = read_column<std::uint32_t>(files.open(files.ranges()), "rows");
  MethodContext& context = job.context();
  PreparedCorpus& prepared = context.prepared();
  SweepJob sweep;
  sweep.targets = prepared.places_of(rows_of(ranges, share.index, share.count));
  std::vector<fs::path> known;  // shares whose thresholds hold here
  if (share.step == kWithin) {
    sweep.mutual = true;
  } else {
    std::vector<std::uint32_t> others;
    known.push_back(files.place_of(kWithin, share.index));
    for (const std::int64_t other : followers(share.index, share.count)) {
      const auto more = rows_of(ranges, other, share.count);
      others.insert(others.end(), more.begin(), more.end());
      known.push_back(files.place_of(kWithin, other));
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
  const MineOptions& options = context.options;
  const std::int64_t bytes =
      static_cast<std::int64_t>(rows.size()) * Pools::bytes_per_target(options.k, options.skip);
  Pools pools(context.corpus, rows, options.k, options.skip, context.groups,
              bytes > prepared.memory_left() ? context.scratch : fs::path());
  context.team.begin_stage("mine", static_cast<std::int64_t>(sweep.targets.size()),
                           std::max<std::int64_t>(1, Sweep::work(sweep)));
  if (share.step == kWithin) {
    prepared.sweep().seed(sweep, context.kept(), pools, context.team);
  } else {
    files.raise_thresholds(known, rows, context.corpus.size(), pools);
  }
  if (!sweep.targets.empty()) prepared.sweep().run(sweep, pools, context.team);
  context.team.end_stage();
  job.end_sweep();
  files.save_pools(files.place_of(share.step, share.index), pools, rows, share.step == kWithin);
}

MethodReport merge_ranges(Job& job, const ShareFiles& files, HardPairSink& sink) {
  std::vector<fs::path> places = files.places_of(kWithin);
  std::ranges::copy(files.places_of(kAcross), std::back_inserter(places));
  MethodContext& context = job.context();
  const MineOptions& options = context.options;
  const std::int64_t rows = context.corpus.size();
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
    files.unite(places, first, slots, rows, pools, context.team);
    write_pools(pools, slots, first, options.k, sink, report.drops, context.team);
  }
  context.team.end_stage();
  if (options.method == MiningMethod::partition) report_all_pairs(rows, report);
  return report;
}

// Where no pool is written.
class NoSink final : public HardPairSink {
 public:
  void write(const HardPairBand&) override {
    throw Error(ErrorCode::mismatch, "the job has no step that is shared out any more");
  }
};

// The rounds of who runs one share of one of them.
class MinedRound final : public SharedRounds {
 public:
  MinedRound(const ShareFiles& files, const Share& share, Job& job)
      : files_(files), share_(share), job_(job) {}

  // Units of about the same work for each share.
  bool see_to(const MethodRound& round, const std::vector<std::uint32_t>& rows,
              Pools& pools) override {
    require_step(round.number, share_.step);
    std::vector<std::int64_t> until(round.work.size());
    std::partial_sum(round.work.begin(), round.work.end(), until.begin());
    const auto all = static_cast<double>(until.empty() ? 0 : until.back());
    const auto begin_of = [&](std::int64_t share) {
      if (share == share_.count) return static_cast<std::int64_t>(until.size());
      const auto before = static_cast<std::int64_t>(all * static_cast<double>(share) /
                                                    static_cast<double>(share_.count));
      return std::ranges::lower_bound(until, before) - until.begin();
    };
    const std::int64_t first = share_.index == 1 ? 0 : begin_of(share_.index - 1);
    const std::int64_t last = begin_of(share_.index);
    if (first < last) round.run(first, last);
    job_.end_sweep();  // before it counts: no file became shorter meanwhile
    files_.save_pools(files_.place_of(share_.step, share_.index), pools, rows, false);
    return false;
  }

  static void require_step(std::int64_t there, std::int64_t asked) {
    if (there == asked) return;
    throw Error(ErrorCode::mismatch, "the step is " + std::to_string(asked) +
                                         ", and the job is at step " + std::to_string(there));
  }

 private:
  const ShareFiles& files_;
  const Share share_;
  Job& job_;
};

// The rounds of who unites what all shares of one of them found, or begins the first.
class MergedRounds final : public SharedRounds {
 public:
  // `step` -1: none is merged.
  MergedRounds(const ShareFiles& files, std::int64_t step, Job& job)
      : files_(files), step_(step), job_(job) {}

  bool see_to(const MethodRound& round, const std::vector<std::uint32_t>& rows,
              Pools& pools) override {
    if (round.number == step_ + 1) {
      round.save();
      waits_ = true;
      return false;
    }
    MinedRound::require_step(round.number, step_);
    const std::vector<fs::path> places = files_.places_of(step_);
    const std::int64_t all = job_.targets();
    std::vector<std::int64_t> slots(static_cast<std::size_t>(all), -1);
    for (std::size_t i = 0; i < rows.size(); ++i) slots[rows[i]] = static_cast<std::int64_t>(i);
    Team& team = job_.context().team;
    team.begin_stage("merge", all, all);
    for (std::int64_t first = 0; first < all; first += kBandRows) {
      const std::int64_t size = std::min(kBandRows, all - first);
      const std::span own(slots.data() + first, static_cast<std::size_t>(size));
      files_.unite(places, first, own, all, pools, team);
      team.add_work(size);
    }
    team.end_stage();
    return true;
  }
  bool needs_codes() const override { return false; }
  // Whether a round is to be mined by others.
  bool waits() const { return waits_; }

 private:
  const ShareFiles& files_;
  const std::int64_t step_;
  Job& job_;
  bool waits_ = false;
};

void check_share(const Share& share, bool has_ranges) {
  const auto refuse = [](const char* what, std::int64_t value, const std::string& bound) {
    throw Error(ErrorCode::invalid_argument,
                std::string(what) + " is " + std::to_string(value) + bound);
  };
  if (share.index < 1 || share.index > share.count) {
    refuse("the share", share.index,
           " of " + std::to_string(share.count) + "; shares count from 1 to their number");
  }
  const std::int64_t most = has_ranges ? kAcross : kMostSteps;
  if (share.step < 0 || share.step > most) {
    refuse("the step", share.step, "; it must lie in 0 .. " + std::to_string(most));
  }
}

}  // namespace

std::int64_t prepare_shares(const EmbeddingStore& store, std::int64_t count,
                            const MineOptions& asked, const fs::path& folder,
                            const ProgressCallback& progress) {
  return entry_point([&]() -> std::int64_t {
    const MineOptions options = share_options(store, count, asked);
    const ShareFiles files(folder, identity_of(store, options), count);
    if (files.has(files.ranges())) return kWithin;
    Job job(matrices_of(store, options), options, scratch_folder(folder), progress);
    job.keep_codes_of(store);
    std::optional<Checkpoint> checkpoint;  // these as long as the context that has them
    std::optional<MergedRounds> rounds;
    if (options.method == MiningMethod::partition) {
      make_directory(files.rounds());
      const DirectoryLock lock(files.rounds());
      checkpoint.emplace(files.rounds(), files.identity(), kNeverBetween, progress);
      if (checkpoint->found() != nullptr) {
        return static_cast<std::int64_t>(checkpoint->found()->recalls().size());
      }
      rounds.emplace(files, -1, job);
      if (partition_has_clusters(job.context(&*checkpoint, &*rounds))) {
        NoSink none;
        (void)job.mine_all(none);
        return 0;
      }
    }
    job.make_codes();
    TensorColumns columns;
    columns.show("rows", job.context().prepared().order().rows);
    files.save(files.ranges(), columns);
    return kWithin;
  });
}

void mine_share(const EmbeddingStore& store, const Share& share, const MineOptions& asked,
                const fs::path& folder, const ProgressCallback& progress) {
  entry_point([&] {
    const MineOptions options = share_options(store, share.count, asked);
    const ShareFiles files(folder, identity_of(store, options), share.count);
    const bool has_rounds = has_manifest(files.rounds());
    check_share(share, !has_rounds);
    if (files.has(files.place_of(share.step, share.index))) return;
    Job job(matrices_of(store, options), options, scratch_folder(folder), progress);
    job.keep_codes_of(store);
    if (!has_rounds) return mine_ranges(job, files, share);
    OthersCheckpoint state(files.rounds(), files.identity(), SavedPools::thresholds);
    MinedRound rounds(files, share, job);
    job.context(&state, &rounds);
    NoSink none;
    (void)job.mine_all(none);
  });
}

std::optional<HardPairs> merge_shares(const EmbeddingStore& store, std::int64_t count,
                                      std::int64_t step, const MineOptions& asked,
                                      const fs::path& folder, const fs::path& out,
                                      const ProgressCallback& progress) {
  return entry_point([&]() -> std::optional<HardPairs> {
    const MineOptions options = share_options(store, count, asked);
    const ShareFiles files(folder, identity_of(store, options), count);
    const bool has_rounds = has_manifest(files.rounds());
    check_share({1, count, step}, !has_rounds);
    if (!has_rounds && step == kWithin) {
      for (const fs::path& place : files.places_of(step)) (void)files.open(place);
      return {};
    }
    const std::int64_t rows = store.size();
    HardPairsWriter writer(out, rows, options.k);
    Job job(matrices_of(store, options), options, scratch_folder(out), progress);
    job.keep_codes_of(store);
    HardPairs::Origin origin{
        store.fingerprint(), store.data_fingerprint(), options_json(options), {}};
    if (has_rounds) {
      const DirectoryLock lock(files.rounds());
      Checkpoint checkpoint(files.rounds(), files.identity(), kNeverBetween, progress);
      MergedRounds rounds(files, step, job);
      job.context(&checkpoint, &rounds);
      origin.report_json = job.mine_all(writer);
      if (rounds.waits()) {  // with what these have found
        for (const fs::path& place : files.places_of(step)) remove_directory(place);
        return {};
      }
    } else {
      const MethodReport report = merge_ranges(job, files, writer);
      job.end_sweep();
      origin.report_json = report_json(report, &job.context().prepared().plan(), options,
                                       {0, rows, 0, rows}, job.context().corpus, {});
    }
    HardPairs table = writer.finish(std::move(origin));
    remove_directory(folder);
    return table;
  });
}

}  // namespace helip
