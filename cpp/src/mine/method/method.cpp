#include "mine/method/method.h"

#include <utility>

#include "mine/budget/budget.h"

namespace helip::mining {

MethodContext::MethodContext(const Corpus& corpus_, const MineOptions& options_,
                             std::int64_t memory_, std::filesystem::path scratch_,
                             const std::uint32_t* groups_, Team& team_,
                             MethodCheckpoint* checkpoint_, KeptCodes* kept_codes,
                             SharedRounds* rounds_)
    : corpus(corpus_),
      options(options_),
      memory(memory_),
      scratch(std::move(scratch_)),
      groups(groups_),
      team(team_),
      checkpoint(checkpoint_),
      rounds(rounds_),
      kept_codes_(kept_codes) {}

PreparedCorpus& MethodContext::prepared() {
  if (prepared_) return *prepared_;
  const SavedMethodState* earlier = saved();
  KeptCodes* kept = kept_codes_;
  if (kept != nullptr && kept->found()) {
    FilterPlan plan = kept->plan();
    RowOrder order = kept->order();
    // What was saved goes by places.
    if (earlier == nullptr || earlier->order(corpus, plan.leading.count).rows == order.rows) {
      prepare(std::move(plan), std::move(order), kept);
      return *prepared_;
    }
    kept = nullptr;
  }
  FilterPlan plan = choose_filters_for(corpus, options, team);
  RowOrder order = earlier == nullptr ? order_rows(corpus, plan, team)
                                      : earlier->order(corpus, plan.leading.count);
  prepare(std::move(plan), std::move(order), kept);
  return *prepared_;
}

void MethodContext::prepare(FilterPlan plan, RowOrder order, KeptCodes* codes) {
  prepared_ = std::make_unique<PreparedCorpus>(corpus, std::move(plan), std::move(order),
                                               bytes_without_codes(corpus, kept(), team.size()),
                                               memory, scratch, team, codes);
}

void MethodContext::prepare_for_exact() {
  MineOptions own = options;
  own.method = MiningMethod::exact;
  prepared_.reset();  // first, for its memory
  FilterPlan plan = choose_filters_for(corpus, own, team);
  RowOrder order = order_rows(corpus, plan, team);
  prepare(std::move(plan), std::move(order), nullptr);
}

void MethodContext::drop_codes() noexcept {
  if (prepared_) prepared_->drop_codes();
}

MethodReport run_method(MethodContext& context, const TargetRange& targets, HardPairSink& sink) {
  switch (context.options.method) {
    case MiningMethod::sample: return mine_sample(context, targets, sink);
    case MiningMethod::hnsw: return mine_hnsw(context, targets, sink);
    case MiningMethod::partition: return mine_partition(context, targets, sink);
    case MiningMethod::automatic:
    case MiningMethod::exact: break;
  }
  return mine_exact(context, targets, sink);
}

}  // namespace helip::mining
