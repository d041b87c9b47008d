#include "helip/mine.h"

#include <algorithm>
#include <array>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engine.h"
#include "helip/error.h"
#include "plan.h"
#include "rules.h"

namespace helip {
namespace {

using mining::Context;
using mining::Corpus;
using mining::Filter;
using mining::Report;
using mining::Team;
using Json = nlohmann::ordered_json;

constexpr std::array<const char*, 4> kMethodNames{"auto", "exact", "sample", "hnsw"};
constexpr std::array<const char*, 3> kModalityNames{"both", "image", "text"};

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

// What every entry point sets up; allocation failures of the calling thread become Errors.
template <typename Body>
auto guarded(const Body& body) {
  const std::string message =
      "there is not enough memory for the pools; lower k, memory= or the number of threads";
  try {
    return body();
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, message);
  } catch (const std::length_error&) {
    throw Error(ErrorCode::out_of_memory, message);
  }
}

// The options as used, without those that change nothing in the result.
std::string options_json(const MineOptions& options) {
  return Json{{"k", options.k},
              {"method", name_of(options.method)},
              {"modality", name_of(options.modality)},
              {"image_max", options.image_max},
              {"text_max", options.text_max},
              {"min_score", options.min_score},
              {"signed", options.signed_products},
              {"candidates", options.candidates},
              {"refresh", options.refresh},
              {"seed", options.seed},
              {"recall", options.recall}}
      .dump();
}

std::string report_json(const Report& report) {
  const mining::DropCounts& drops = report.drops;
  Json json{{"pairs_scored", drops.scored},
            {"drops",
             {{"image_duplicate", drops.image_duplicate},
              {"text_duplicate", drops.text_duplicate},
              {"nonpositive", drops.nonpositive},
              {"below_min_score", drops.below_min_score}}}};
  if (report.has_recall) {
    json["recall"] = {{"value", report.recall.estimate},
                      {"low", report.recall.low},
                      {"high", report.recall.high},
                      {"targets", report.recall.targets},
                      {"confidence", 0.95}};
  }
  if (report.ef > 0) json["hnsw"] = {{"ef", report.ef}, {"graphs", report.graphs}};
  return json.dump();
}

Report run(const Context& context, HardPairSink& sink) {
  switch (context.options.method) {
    case Method::sample: return mining::mine_sample(context, sink);
    case Method::hnsw: return mining::mine_hnsw(context, sink);
    case Method::automatic:
    case Method::exact: break;
  }
  return mining::mine_exact(context, sink);
}

HardPairs mine_into(const MatrixView& image, const MatrixView& text, const MineOptions& asked,
                    const ProgressCallback& progress, const std::filesystem::path& out,
                    HardPairs::Origin origin) {
  mining::validate(image, text, asked);
  const mining::Kernel& kernel = mining::select_kernel();
  const std::int64_t rows = mining::row_count(image, text, asked);
  HardPairsWriter writer(out, rows, asked.k);

  MineOptions options = asked;
  const Corpus fresh(image, text, options, kernel);
  Report report;
  if (options.method == Method::automatic) {
    options.method =
        rows == 0 ? Method::exact
                  : mining::make_plan(fresh, *mining::make_float32_filter(fresh), options).method;
  }
  if (options.method == Method::sample) {
    options.candidates = mining::sample_candidates(options, rows);
  }
  if (rows > 0) {
    Team team(options.threads, progress);
    Corpus corpus = fresh;
    corpus.measure(team);
    const auto filter = mining::make_float32_filter(corpus);
    report = run({corpus, *filter, options, mining::memory_budget(options), team}, writer);
  }
  origin.options_json = options_json(options);
  origin.report_json = report_json(report);
  return writer.finish(std::move(origin));
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

HardPairs mine(const MatrixView& image, const MatrixView& text, const MineOptions& options,
               const ProgressCallback& progress, const std::filesystem::path& out) {
  return guarded([&] { return mine_into(image, text, options, progress, out, {}); });
}

HardPairs mine(const EmbeddingStore& store, const MineOptions& options,
               const ProgressCallback& progress, const std::filesystem::path& out) {
  HardPairs::Origin origin;
  origin.fingerprint = store.fingerprint();
  origin.keys_fingerprint = store.keys_fingerprint();
  return guarded(
      [&] { return mine_into(store.image(), store.text(), options, progress, out, origin); });
}

MinePlan plan(const MatrixView& image, const MatrixView& text, const MineOptions& options) {
  return guarded([&] {
    mining::validate(image, text, options);
    const Corpus corpus(image, text, options, mining::select_kernel());
    return mining::make_plan(corpus, *mining::make_float32_filter(corpus), options);
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
    Corpus corpus(image, text, options, mining::select_kernel());
    const ProgressCallback silent;
    Team team(options.threads, silent);
    measure_if_worth(corpus, candidates.rows * (candidates.cols + 1), team);

    HardPairBand band = mining::make_band(0, candidates.rows, options.k);
    team.for_blocks(candidates.rows, 16, [&](std::int64_t row, std::int64_t end, int) {
      mining::Scorer scorer(corpus);
      std::vector<std::int64_t> ids;
      std::vector<mining::Scored> pool;
      for (; row < end; ++row) {
        const std::int64_t target = targets[static_cast<std::size_t>(row)];
        const auto* given = static_cast<const std::int64_t*>(candidates.row(row));
        ids.assign(given, given + candidates.cols);
        std::sort(ids.begin(), ids.end());
        ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
        scorer.set_target(target);
        pool.clear();
        for (const std::int64_t id : ids) {
          if (id < 0 || id == target) continue;
          if (const auto score = scorer.score(id)) pool.push_back({*score, id});
        }
        mining::write_pool(pool, band, row);
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
    Corpus corpus(image, text, options, mining::select_kernel());
    if (targets.empty()) return mining::make_band(0, 0, options.k);
    Team team(options.threads, progress);
    corpus.measure(team);
    const auto filter = mining::make_float32_filter(corpus);
    const auto count = static_cast<std::int64_t>(targets.size());
    team.begin_stage("mine", count, count * corpus.size());
    HardPairBand band = mining::exact_pools(
        {corpus, *filter, options, mining::memory_budget(options), team}, targets);
    team.end_stage();
    return band;
  });
}

}  // namespace helip
