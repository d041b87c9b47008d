#include "mine/method/method.h"

#include <utility>

#include "mine/budget/method_sizes.h"

namespace helip::mining {

MethodContext::MethodContext(const Corpus& corpus_, const MineOptions& options_,
                             std::int64_t memory_, std::filesystem::path scratch_,
                             const std::uint32_t* groups_, Team& team_,
                             MethodCheckpoint* checkpoint_)
    : corpus(corpus_),
      options(options_),
      memory(memory_),
      scratch(std::move(scratch_)),
      groups(groups_),
      team(team_),
      checkpoint(checkpoint_) {}

PreparedCorpus& MethodContext::prepared() {
  if (prepared_) return *prepared_;
  if (const SavedMethodState* earlier = saved()) {
    FilterPlan plan = choose_filters_for(corpus, options, team);
    RowOrder order = earlier->order(corpus, plan.leading.count);
    prepared_ = std::make_unique<PreparedCorpus>(corpus, std::move(plan), std::move(order),
                                                 bytes_beside_codes(corpus, kept(), team.size()),
                                                 memory, scratch, team);
  } else {
    prepare_for(options.method);
  }
  return *prepared_;
}

void MethodContext::prepare_for(MiningMethod method) {
  MineOptions own = options;
  own.method = method;
  prepared_.reset();  // first, for its memory
  prepared_ = std::make_unique<PreparedCorpus>(corpus, choose_filters_for(corpus, own, team),
                                               bytes_beside_codes(corpus, kept(), team.size()),
                                               memory, scratch, team);
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
