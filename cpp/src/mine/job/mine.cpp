#include "helip/mine.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/team.h"
#include "helip/error.h"
#include "helip/hard_pairs_writer.h"
#include "io/file.h"
#include "mine/budget/budget.h"
#include "mine/budget/plan.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"
#include "mine/corpus/scorer.h"
#include "mine/job/checkpoint.h"
#include "mine/job/job.h"
#include "mine/job/report.h"
#include "mine/method/method.h"
#include "mine/pool/bands.h"
#include "mine/pool/groups.h"

namespace helip {
namespace {

using mining::Corpus;
using mining::entry_point;

// With a checkpoint beside the table.
HardPairs mine_to(const std::filesystem::path& out, const EmbeddingStore& store,
                  MineOptions options, const ProgressCallback& progress) {
  const mining::Matrices matrices = mining::matrices_of(store, options);
  mining::validate(matrices, options);
  mining::check_codes_folder(options.codes, out);
  // Owns the place until the table is there.
  HardPairsWriter writer(out, store.size(), options.k);
  const std::filesystem::path folder = mining::checkpoint_folder(out);
  if (options.method == MiningMethod::automatic) {
    // What was begun decides: a machine measured twice may choose otherwise.
    options.method = mining::method_of_checkpoint(folder).value_or(options.method);
  }
  mining::Job job(matrices, options, mining::scratch_folder(out), progress);
  job.keep_codes_of(store);
  mining::Checkpoint checkpoint(folder, mining::identity_of(store, job.options()),
                                options.checkpoint, progress);
  HardPairs::Origin origin{
      store.fingerprint(), store.data_fingerprint(), mining::options_json(job.options()), {}};
  origin.report_json = job.mine_all(writer, &checkpoint);
  HardPairs table = writer.finish(std::move(origin));
  checkpoint.remove();
  return table;
}

void check_targets(const std::vector<std::int64_t>& targets, std::int64_t rows) {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] >= 0 && targets[i] < rows) continue;
    throw Error(ErrorCode::invalid_argument,
                "target " + std::to_string(i) + " is row " + std::to_string(targets[i]) +
                    ", but the data set has rows 0 .. " + std::to_string(rows - 1));
  }
}

void check_candidates(const MatrixView& candidates, std::size_t targets, std::int64_t rows) {
  if (candidates.dtype != DType::int64) {
    throw Error(ErrorCode::invalid_argument,
                std::string("candidates are ") + name_of(candidates.dtype) + ", but must be int64");
  }
  if (candidates.rows != static_cast<std::int64_t>(targets) || candidates.cols < 0) {
    throw Error(ErrorCode::invalid_argument, "candidates have " + std::to_string(candidates.rows) +
                                                 " rows for " + std::to_string(targets) +
                                                 " targets; give one row for each");
  }
  for (std::int64_t i = 0; i < candidates.rows; ++i) {
    const auto* ids = static_cast<const std::int64_t*>(candidates.row(i));
    for (std::int64_t j = 0; j < candidates.cols; ++j) {
      if (ids[j] >= -1 && ids[j] < rows) continue;
      throw Error(ErrorCode::invalid_argument, "candidate " + std::to_string(ids[j]) + " in row " +
                                                   std::to_string(i) +
                                                   " is none of the rows 0 .. " +
                                                   std::to_string(rows - 1) + "; use -1 for none");
    }
  }
}

// Bare arrays have no fingerprint.
void check_for_arrays(const MineOptions& options) {
  if (options.parts != 1) {
    throw Error(ErrorCode::invalid_argument,
                "parts is " + std::to_string(options.parts) +
                    "; bare arrays have no fingerprint by which parts could be told apart, so "
                    "mine a store, or use parts = 1");
  }
  if (!options.codes.empty()) {
    throw Error(ErrorCode::invalid_argument,
                "codes is " + quoted(options.codes) +
                    "; bare arrays have no fingerprint by which codes could be told apart, so mine "
                    "a store, or drop codes");
  }
}

mining::Matrices named_matrices(const std::vector<MatrixView>& channels,
                                const MineOptions& options) {
  if (!options.channels.empty()) return {{}, {}, channels};
  throw Error(ErrorCode::invalid_argument, "the options name no channels; give one for each of " +
                                               std::to_string(channels.size()) + " matrices");
}

MinePlan plan_of(const mining::Matrices& matrices, const MineOptions& options,
                 const ProgressCallback& progress) {
  mining::validate(matrices, options);
  const Corpus corpus(matrices, mining::rules_of(options), mining::select_kernel());
  Team team(options.threads, progress);
  team.begin_stage("plan", corpus.size(), 1);
  mining::Planned planned = mining::make_plan(corpus, options, team);
  team.end_stage();
  planned.plan.filters = mining::filters_json(planned.filters, options).dump();
  return planned.plan;
}

// Lengths of all rows are worth a pass over the matrices when about as many would be read anyhow.
void measure_if_worth(Corpus& corpus, std::int64_t reads, Team& team) {
  if (reads >= corpus.size() / 2) corpus.measure(team);
}

}  // namespace

HardPairs mine(const MatrixView& image, const MatrixView& text, const MineOptions& options,
               const ProgressCallback& progress, const std::filesystem::path& out,
               DroppedPairs* dropped) {
  check_for_arrays(options);
  return entry_point([&] {
    return mining::mine_table({image, text}, options, progress, out, {}, ExistingTable::refuse,
                              dropped);
  });
}

HardPairs mine(const EmbeddingStore& store, const MineOptions& options,
               const ProgressCallback& progress, const std::filesystem::path& out) {
  return entry_point([&] {
    if (options.parts != 1) return mining::mine_in_parts(store, options, progress, out);
    if (!out.empty()) return mine_to(out, store, options, progress);
    HardPairs::Origin origin;
    origin.fingerprint = store.fingerprint();
    origin.data_fingerprint = store.data_fingerprint();
    return mining::mine_table(mining::matrices_of(store, options), options, progress, {}, origin,
                              ExistingTable::refuse, nullptr, &store);
  });
}

HardPairs mine_channels(const std::vector<MatrixView>& channels, const MineOptions& options,
                        const ProgressCallback& progress, const std::filesystem::path& out) {
  check_for_arrays(options);
  return entry_point([&] {
    return mining::mine_table(named_matrices(channels, options), options, progress, out, {});
  });
}

MinePlan plan(const MatrixView& image, const MatrixView& text, const MineOptions& options,
              const ProgressCallback& progress) {
  return entry_point([&] { return plan_of({image, text}, options, progress); });
}

MinePlan plan_channels(const std::vector<MatrixView>& channels, const MineOptions& options,
                       const ProgressCallback& progress) {
  return entry_point([&] { return plan_of(named_matrices(channels, options), options, progress); });
}

MinePlan plan(const EmbeddingStore& store, const MineOptions& options,
              const ProgressCallback& progress) {
  return entry_point(
      [&] { return plan_of(mining::matrices_of(store, options), options, progress); });
}

HardPairBand rerank(const MatrixView& image, const MatrixView& text,
                    const std::vector<std::int64_t>& targets, const MatrixView& candidates,
                    const MineOptions& options, const ProgressCallback& progress,
                    DroppedPairs* dropped) {
  return entry_point([&] {
    mining::validate(mining::Matrices{image, text}, options);
    const std::int64_t rows = mining::row_count({image, text}, options);
    check_targets(targets, rows);
    check_candidates(candidates, targets.size(), rows);
    Corpus corpus(image, text, mining::rules_of(options), mining::select_kernel());
    Team team(options.threads, progress);
    measure_if_worth(corpus, candidates.rows * (candidates.cols + 1), team);

    HardPairBand band = mining::make_band(0, candidates.rows, options.k);
    const std::vector<std::uint32_t> slots(targets.begin(), targets.end());
    mining::Pools pools(corpus, slots, options.k, options.skip, nullptr);
    mining::DropCounts drops;
    drops.listed = dropped != nullptr;
    std::mutex mutex;
    team.begin_stage("rerank", candidates.rows, candidates.rows);
    team.for_blocks(candidates.rows, 16, [&](std::int64_t row, std::int64_t end, int) {
      mining::Scorer scorer(corpus);
      mining::DropCounts counts = drops.part();
      std::vector<std::int64_t> ids;
      for (; row < end && !team.stopped(); ++row) {
        const auto* given = static_cast<const std::int64_t*>(candidates.row(row));
        ids.assign(given, given + candidates.cols);
        std::sort(ids.begin(), ids.end());
        ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
        for (const std::int64_t id : ids) {
          if (id < 0 || id == targets[static_cast<std::size_t>(row)]) continue;
          pools.score_pair(row, id, -1, scorer);
        }
        pools.finish(row, band, row, counts);
        team.add_work(1);
      }
      const std::lock_guard lock(mutex);
      drops.add(counts);
    });
    corpus.require_whole();
    if (dropped != nullptr) *dropped = drops.take();
    return band;
  });
}

HardPairBand mine_targets(const MatrixView& image, const MatrixView& text,
                          const std::vector<std::int64_t>& targets, const MineOptions& options,
                          const ProgressCallback& progress) {
  return entry_point([&] {
    mining::validate(mining::Matrices{image, text}, options);
    check_targets(targets, mining::row_count({image, text}, options));
    Corpus corpus(image, text, mining::rules_of(options), mining::select_kernel());
    if (targets.empty()) return mining::make_band(0, 0, options.k);
    Team team(options.threads, progress);
    corpus.measure(team);
    const auto count = static_cast<std::int64_t>(targets.size());
    const std::int64_t memory = mining::memory_budget(options);
    std::vector<std::uint32_t> groups;
    if (options.collapse != Collapse::none) {
      groups =
          mining::duplicate_groups(image, text, options, memory, mining::scratch_folder({}), team);
    }
    mining::MethodContext context(corpus, options, memory, mining::scratch_folder({}),
                                  groups.empty() ? nullptr : groups.data(), team);
    team.begin_stage("mine", count, count * corpus.size());
    HardPairBand band = mining::exact_pools(context, targets);
    corpus.require_whole();
    team.end_stage();
    return band;
  });
}

}  // namespace helip
