#include "mine/job/job.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <string>
#include <system_error>
#include <utility>

#include "helip/error.h"
#include "io/file.h"
#include "io/json.h"
#include "mine/budget/budget.h"
#include "mine/budget/plan.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"
#include "mine/job/checkpoint.h"
#include "mine/job/report.h"
#include "mine/pool/groups.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kLeastRowsToKeep = 16384;  // beside a store: fewer are soon encoded

}  // namespace

void check_codes_folder(const std::filesystem::path& codes, const std::filesystem::path& out) {
  if (codes.empty() || out.empty()) return;
  const auto plain = [](const std::filesystem::path& path) {
    std::error_code failed;  // then the path as it is will do, and whoever opens it says why
    std::filesystem::path whole = std::filesystem::weakly_canonical(absolute_path(path), failed);
    if (failed) whole = absolute_path(path).lexically_normal();
    return whole.has_filename() ? whole : whole.parent_path();
  };
  const std::filesystem::path own = plain(codes);
  if (own != plain(out) && own != plain(parts_folder(out)) &&
      own != plain(checkpoint_folder(out))) {
    return;
  }
  throw Error(ErrorCode::invalid_argument, "codes and a table or its job are both to lie in " +
                                               quoted(codes) +
                                               "; give the codes a folder of their own");
}

void check_number(const char* of, std::int64_t count, std::int64_t rows) {
  const std::int64_t most = std::max<std::int64_t>(1, rows);
  if (count >= 1 && count <= most) return;
  throw Error(ErrorCode::invalid_argument, std::string("the number of ") + of + " is " +
                                               std::to_string(count) + "; it must lie in 1 .. " +
                                               std::to_string(most) + ", at least a target each");
}

std::optional<CodesFolder> codes_folder(const MineOptions& options, const EmbeddingStore& store) {
  if (!options.codes.empty()) return CodesFolder{options.codes};
  if (!options.keep_codes || store.path().empty() || store.size() < kLeastRowsToKeep) return {};
  return CodesFolder{store.path() / "codes", false};
}

Job::Job(Matrices matrices, const MineOptions& asked, std::filesystem::path scratch,
         const ProgressCallback& progress, const NegativesInput* queries)
    : matrices_(std::move(matrices)),
      options_(asked),
      scratch_(std::move(scratch)),
      progress_(progress),
      corpus_(matrices_, rules_of(options_), select_kernel(), queries),
      team_(options_.threads, progress) {
  if (options_.method == MiningMethod::automatic) {
    options_.method = targets() <= kExactRows || queries != nullptr
                          ? MiningMethod::exact
                          : make_plan(corpus_, options_, team_).plan.method;
  }
  if (options_.method == MiningMethod::sample) {
    options_.candidates = sample_candidates(options_, targets());
  }
}

void Job::keep_codes_of(const EmbeddingStore& store) {
  std::optional<CodesFolder> folder = codes_folder(options_, store);
  if (!folder) return;
  // An order may differ: an object of a manifest has its members sorted.
  const Json identity(codes_identity(store, options_, false));
  const auto fits = [&](const OrderedJson& there) { return Json(there) == identity; };
  codes_.emplace(std::move(*folder), corpus_, OrderedJson(identity), fits, progress_);
}

void Job::prepare(MethodCheckpoint* checkpoint, SharedRounds* rounds) {
  corpus_.measure(team_, codes_ && codes_->found() ? codes_->lengths() : RowLengths{});
  const std::int64_t memory = memory_budget(options_);
  if (options_.collapse != Collapse::none) {
    groups_ = duplicate_groups(matrices_.image, matrices_.text, options_, memory, scratch_, team_);
    // Queries are no candidates: each is a group of its own.
    const auto queries = static_cast<std::uint32_t>(corpus_.queries());
    for (std::uint32_t& group : groups_) group += queries;
    std::vector<std::uint32_t> own(queries);
    std::iota(own.begin(), own.end(), 0U);
    groups_.insert(groups_.begin(), own.begin(), own.end());
  }
  context_.emplace(corpus_, options_, memory, scratch_, groups_.empty() ? nullptr : groups_.data(),
                   team_, checkpoint, codes_ ? &*codes_ : nullptr, rounds);
}

void Job::make_codes() {
  if (!codes_ || codes_->found() || !filters_pay(corpus_, targets())) return;
  context().prepared().sweep();
  end_sweep();
}

void Job::end_sweep() {
  corpus_.require_whole();
  if (!codes_) return;
  codes_->require_whole();
  codes_->publish();
}

std::string Job::mine(const TargetRange& targets, HardPairSink& sink, MethodCheckpoint* checkpoint,
                      DroppedPairs* dropped) {
  MethodReport report;
  if (corpus_.targets() > 0) {
    context(checkpoint).list_drops = dropped != nullptr;
    report = run_method(*context_, targets, sink);
    end_sweep();
    if (dropped != nullptr) *dropped = report.drops.take();
  }
  const bool filtered = context_ && context_->is_prepared();
  const FilterPlan* filters = filtered ? &context_->prepared().plan() : nullptr;
  const std::string hindrance = codes_ ? codes_->hindrance() : std::string();
  return report_json(report, filters, options_, targets, corpus_, hindrance);
}

HardPairs mine_table(const Matrices& matrices, const MineOptions& asked,
                     const ProgressCallback& progress, const std::filesystem::path& out,
                     HardPairs::Origin origin, ExistingTable existing, DroppedPairs* dropped,
                     const EmbeddingStore* store) {
  validate(matrices, asked);
  HardPairsWriter writer(out, row_count(matrices, asked), asked.k, existing);
  Job job(matrices, asked, scratch_folder(out), progress);
  if (store != nullptr) job.keep_codes_of(*store);
  OrderedJson report = OrderedJson::parse(job.mine_all(writer, nullptr, dropped));
  if (!origin.report_json.empty()) report.update(OrderedJson::parse(origin.report_json));
  origin.report_json = report.dump();
  origin.options_json = options_json(job.options());
  return writer.finish(std::move(origin));
}

}  // namespace helip::mining
