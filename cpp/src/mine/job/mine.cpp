#include "helip/mine.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "helip/error.h"
#include "mine/budget/plan.h"
#include "mine/corpus/rules.h"
#include "mine/job/checkpoint.h"
#include "mine/job/job.h"
#include "mine/job/job_identity.h"
#include "mine/job/parts.h"
#include "mine/method/engine.h"
#include "mine/pool/groups.h"

namespace helip {
namespace {

using mining::Context;
using mining::Corpus;
using mining::guarded;
using mining::Report;
using Json = nlohmann::ordered_json;

constexpr std::array<const char*, 5> kMethodNames{"auto", "exact", "sample", "hnsw", "partition"};
constexpr std::array<const char*, 3> kModalityNames{"both", "image", "text"};
constexpr std::array<const char*, 4> kCollapseNames{"none", "image", "text", "both"};

template <typename Enum, std::size_t n>
Enum from_name(const std::array<const char*, n>& names, const char* what, const std::string& name) {
  std::string known;
  for (std::size_t i = 0; i < n; ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
    known += (i == 0 ? "" : i + 1 == n ? " or " : ", ") + std::string(names[i]);
  }
  throw Error(ErrorCode::invalid_argument,
              std::string(what) + " '" + name + "' is unknown; use " + known);
}

}  // namespace

std::string mining::options_json(const MineOptions& options) {
  return Json{{"k", options.k},
              {"method", name_of(options.method)},
              {"modality", name_of(options.modality)},
              {"image_max", options.image_max},
              {"text_max", options.text_max},
              {"min_score", options.min_score},
              {"signed", options.signed_products},
              {"margin", options.margin ? Json(*options.margin) : Json(nullptr)},
              {"skip", options.skip},
              {"collapse", name_of(options.collapse)},
              {"candidates", options.candidates},
              {"refresh", options.refresh},
              {"seed", options.seed},
              {"recall", options.recall}}
      .dump();
}

namespace {

// Shares of a sample's pairs that each filter lets pass; of the pairs that reach the score itself.
Json filters_json(const mining::FilterPlan& filters) {
  Json json{{"weight", filters.weight},
            {"high_share", filters.high_share},
            {"dimensions", {filters.high, filters.low, filters.second}},
            {"passed", Json::object()}};
  const auto put = [&json](const char* name, double share) {
    if (share >= 0.0) json["passed"][name] = share;
  };
  put("first", filters.passed_first);
  put("second", filters.passed_second);
  put("sum", filters.passed_whole);
  put("score", filters.passed_score);
  return json;
}

}  // namespace

std::string mining::report_json(const Report& report, const FilterPlan* filters,
                                const MineOptions& options, const TargetRange& targets,
                                std::int64_t rows) {
  const std::int64_t each = options.method == Method::sample ? options.candidates : rows - 1;
  const mining::DropCounts& drops = report.drops;
  const auto kept_out = [&drops](mining::Verdict verdict) {
    return drops.kept_out[static_cast<std::size_t>(verdict)];
  };
  Json json{{"pairs", (targets.last - targets.first) * each},
            {"drops",
             {{"image_duplicate", kept_out(mining::Verdict::image_duplicate)},
              {"text_duplicate", kept_out(mining::Verdict::text_duplicate)},
              {"margin", kept_out(mining::Verdict::margin)},
              {"collapsed", kept_out(mining::Verdict::collapsed)},
              {"skipped", drops.skipped}}}};
  if (filters != nullptr) json["filters"] = filters_json(*filters);
  if (report.has_recall && targets.last - targets.first == rows) {
    json["recall"] = recall_json(report.recall);
  } else if (report.has_recall) {
    // Of a part: what the recall of the whole table is made of when the parts are merged.
    json["recall_hits"] = Json::array();
    for (const RecallHits& target : report.hits) {
      json["recall_hits"].push_back({target.hits, target.wanted});
    }
  }
  if (report.hnsw.breadth > 0) {
    json["hnsw"] = {{"breadth", report.hnsw.breadth}, {"reached", report.hnsw.reached}};
  }
  if (report.partition.clusters > 0) {
    json["partition"] = {{"clusters", report.partition.clusters},
                         {"near", report.partition.near},
                         {"passes", report.partition.passes},
                         {"met", report.partition.met},
                         {"exact", report.partition.met >= 1.0}};
  }
  return json.dump();
}

Report mining::run(const Context& context, const TargetRange& targets, HardPairSink& sink) {
  switch (context.options.method) {
    case Method::sample: return mine_sample(context, targets, sink);
    case Method::hnsw: return mine_hnsw(context, sink);
    case Method::partition: return mine_partition(context, sink);
    case Method::automatic:
    case Method::exact: break;
  }
  return mine_exact(context, targets, sink);
}

std::filesystem::path mining::scratch_folder(const std::filesystem::path& out) {
  if (out.empty()) return std::filesystem::temp_directory_path();
  const std::filesystem::path parent = std::filesystem::absolute(out).parent_path();
  return std::filesystem::is_directory(parent) ? parent : std::filesystem::temp_directory_path();
}

namespace {

HardPairs mine_into(const MatrixView& image, const MatrixView& text, const MineOptions& asked,
                    const ProgressCallback& progress, const std::filesystem::path& out,
                    HardPairs::Origin origin, Existing existing = Existing::refuse) {
  mining::validate(image, text, asked);
  HardPairsWriter writer(out, mining::row_count(image, text, asked), asked.k, existing);
  mining::Job job(image, text, asked, mining::scratch_folder(out), progress);
  Json report = Json::parse(job.mine({0, job.rows(), 0, job.rows()}, writer));
  if (!origin.report_json.empty()) report.update(Json::parse(origin.report_json));
  origin.report_json = report.dump();
  origin.options_json = mining::options_json(job.options());
  return writer.finish(std::move(origin));
}

// With a checkpoint beside the table.
HardPairs mine_to(const std::filesystem::path& out, const EmbeddingStore& store,
                  MineOptions options, const ProgressCallback& progress) {
  mining::validate(store.image(), store.text(), options);
  // Owns the place until the table is there.
  HardPairsWriter writer(out, store.size(), options.k);
  const std::filesystem::path folder = mining::checkpoint_folder(out);
  if (options.method == Method::automatic) {
    // What was begun decides: a machine measured twice may choose otherwise.
    options.method = mining::begun_method(folder).value_or(options.method);
  }
  mining::Job job(store.image(), store.text(), options, mining::scratch_folder(out), progress);
  mining::Checkpoint checkpoint(folder, mining::identity_of(store, job.options()),
                                options.checkpoint, progress);
  HardPairs::Origin origin{
      store.fingerprint(), store.keys_fingerprint(), mining::options_json(job.options()), {}};
  origin.report_json = job.mine({0, job.rows(), 0, job.rows()}, writer, &checkpoint);
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

// Lengths of all rows are worth a pass over the matrices when about as many would be read anyhow.
void measure_if_worth(Corpus& corpus, std::int64_t reads, Team& team) {
  if (reads >= corpus.size() / 2) corpus.measure(team);
}

}  // namespace

const char* name_of(Method method) noexcept {
  return kMethodNames[static_cast<std::size_t>(method)];
}
Method method_from_name(const std::string& name) {
  return from_name<Method>(kMethodNames, "method", name);
}
const char* name_of(Modality modality) noexcept {
  return kModalityNames[static_cast<std::size_t>(modality)];
}
Modality modality_from_name(const std::string& name) {
  return from_name<Modality>(kModalityNames, "modality", name);
}

const char* name_of(Collapse collapse) noexcept {
  return kCollapseNames[static_cast<std::size_t>(collapse)];
}
Collapse collapse_from_name(const std::string& name) {
  return from_name<Collapse>(kCollapseNames, "collapse", name);
}

std::string mining::describe_filters(const FilterPlan& filters) {
  return filters_json(filters).dump();
}

HardPairs mining::mine_store_into(const EmbeddingStore& store, const MineOptions& options,
                                  const ProgressCallback& progress,
                                  const std::filesystem::path& out, HardPairs::Origin origin,
                                  Existing existing) {
  return mine_into(store.image(), store.text(), options, progress, out, std::move(origin),
                   existing);
}

HardPairs mine(const MatrixView& image, const MatrixView& text, const MineOptions& options,
               const ProgressCallback& progress, const std::filesystem::path& out) {
  if (options.parts != 1) {
    throw Error(ErrorCode::invalid_argument,
                "parts is " + std::to_string(options.parts) +
                    "; bare arrays have no fingerprint by which parts could be told apart, so "
                    "mine a store, or use parts = 1");
  }
  return guarded([&] { return mine_into(image, text, options, progress, out, {}); });
}

HardPairs mine(const EmbeddingStore& store, const MineOptions& options,
               const ProgressCallback& progress, const std::filesystem::path& out) {
  if (options.parts != 1) {
    return guarded([&] { return mining::mine_in_parts(store, options, progress, out); });
  }
  if (!out.empty()) return guarded([&] { return mine_to(out, store, options, progress); });
  HardPairs::Origin origin;
  origin.fingerprint = store.fingerprint();
  origin.keys_fingerprint = store.keys_fingerprint();
  return guarded(
      [&] { return mine_into(store.image(), store.text(), options, progress, {}, origin); });
}

MinePlan plan(const MatrixView& image, const MatrixView& text, const MineOptions& options) {
  return guarded([&] {
    mining::validate(image, text, options);
    const Corpus corpus(image, text, mining::rules_of(options), mining::select_kernel());
    const ProgressCallback silent;
    Team team(options.threads, silent);
    mining::Planned planned = mining::make_plan(corpus, options, team);
    planned.plan.filters = filters_json(planned.filters).dump();
    return planned.plan;
  });
}

MinePlan plan(const EmbeddingStore& store, const MineOptions& options) {
  return plan(store.image(), store.text(), options);
}

HardPairBand rerank(const MatrixView& image, const MatrixView& text,
                    const std::vector<std::int64_t>& targets, const MatrixView& candidates,
                    const MineOptions& options) {
  return guarded([&] {
    mining::validate(image, text, options);
    const std::int64_t rows = mining::row_count(image, text, options);
    check_targets(targets, rows);
    check_candidates(candidates, targets.size(), rows);
    Corpus corpus(image, text, mining::rules_of(options), mining::select_kernel());
    const ProgressCallback silent;
    Team team(options.threads, silent);
    measure_if_worth(corpus, candidates.rows * (candidates.cols + 1), team);

    HardPairBand band = mining::make_band(0, candidates.rows, options.k);
    const std::vector<std::uint32_t> slots(targets.begin(), targets.end());
    mining::Pools pools(corpus, slots, options.k, options.skip, nullptr);
    team.for_blocks(candidates.rows, 16, [&](std::int64_t row, std::int64_t end, int) {
      mining::Scorer scorer(corpus);
      mining::DropCounts unused;
      std::vector<std::int64_t> ids;
      for (; row < end; ++row) {
        const auto* given = static_cast<const std::int64_t*>(candidates.row(row));
        ids.assign(given, given + candidates.cols);
        std::sort(ids.begin(), ids.end());
        ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
        for (const std::int64_t id : ids) {
          if (id < 0 || id == targets[static_cast<std::size_t>(row)]) continue;
          pools.meet(row, id, -1, scorer);
        }
        pools.finish(row, band, row, unused);
      }
    });
    return band;
  });
}

HardPairBand mine_targets(const MatrixView& image, const MatrixView& text,
                          const std::vector<std::int64_t>& targets, const MineOptions& options,
                          const ProgressCallback& progress) {
  return guarded([&] {
    mining::validate(image, text, options);
    check_targets(targets, mining::row_count(image, text, options));
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
    const Context context(corpus, options, memory, mining::scratch_folder({}),
                          groups.empty() ? nullptr : groups.data(), team);
    team.begin_stage("mine", count, count * corpus.size());
    HardPairBand band = mining::exact_pools(context, targets);
    team.end_stage();
    return band;
  });
}

}  // namespace helip
