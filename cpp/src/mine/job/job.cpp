#include "mine/job/job.h"

#include <utility>

#include "mine/budget/plan.h"
#include "mine/corpus/rules.h"
#include "mine/pool/groups.h"

namespace helip::mining {

Job::Job(const MatrixView& image, const MatrixView& text, const MineOptions& asked,
         std::filesystem::path scratch, const ProgressCallback& progress)
    : image_(image),
      text_(text),
      options_(asked),
      scratch_(std::move(scratch)),
      corpus_(image, text, rules_of(options_), select_kernel()),
      team_(options_.threads, progress) {
  if (options_.method == Method::automatic) {
    options_.method =
        rows() <= kExactRows ? Method::exact : make_plan(corpus_, options_, team_).plan.method;
  }
  if (options_.method == Method::sample) options_.candidates = sample_candidates(options_, rows());
}

void Job::prepare(Checkpoint* checkpoint) {
  corpus_.measure(team_);
  const std::int64_t memory = memory_budget(options_);
  if (options_.collapse != Collapse::none) {
    groups_ = duplicate_groups(image_, text_, options_, memory, scratch_, team_);
  }
  context_.emplace(corpus_, options_, memory, scratch_, groups_.empty() ? nullptr : groups_.data(),
                   team_, checkpoint);
}

std::string Job::mine(const TargetRange& targets, HardPairSink& sink, Checkpoint* checkpoint) {
  Report report;
  if (rows() > 0) {
    if (!context_) prepare(checkpoint);
    report = run(*context_, targets, sink);
  }
  const bool filtered = context_ && context_->has_filters();
  const FilterPlan* filters = filtered ? &context_->filters().plan() : nullptr;
  return report_json(report, filters, options_, targets, rows());
}

}  // namespace helip::mining
