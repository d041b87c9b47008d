// Approximate mining by a graph over the product kernel, see graph.h. Rows are added to it, then
// each searches from its own node, so broadly that the lower 95 % limit of the measured recall is
// what was asked for.
#include <algorithm>
#include <numeric>
#include <span>
#include <string>

#include "base/scratch_memory.h"
#include "helip/error.h"
#include "mine/budget/budget.h"
#include "mine/corpus/scorer.h"
#include "mine/graph/graph.h"
#include "mine/method/method.h"
#include "mine/method/recall_sample.h"
#include "mine/pool/bands.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kEncodeGrain = 256;
constexpr std::int64_t kSearchGrain = 32;

// Node n of the graph is the row at place n of the order: what lies close is read together.
// Building and searching may be done by one process after another.
class GraphMiner {
 public:
  GraphMiner(MethodContext& context, const RecallSample& sample)
      : context_(context),
        sample_(sample),
        corpus_(context.corpus),
        order_(context.prepared().order().rows),
        nodes_(static_cast<std::int64_t>(order_.size())),
        codec_(corpus_.image_dimensions(), corpus_.text_dimensions(),
               corpus_.rules().signed_products, corpus_.kernel()),
        codes_(std::max<std::int64_t>(1, nodes_) * codec_.bytes()),
        rows_{&codec_, reinterpret_cast<const std::int8_t*>(codes_.data())},
        graph_(kHnswGraph),
        maxima_{code_limit(corpus_.rules().image_max), code_limit(corpus_.rules().text_max)},
        searches_(static_cast<std::size_t>(context.team.size())),
        slots_(static_cast<std::size_t>(corpus_.size()), -1) {
    for (std::int64_t node = 0; node < nodes_; ++node) {
      slots_[order_[static_cast<std::size_t>(node)]] = node;
    }
    if (const SavedMethodState* saved = context.saved()) graph_ = saved->graph(kHnswGraph, nodes_);
  }

  // row -> node; -1 for a zero row
  const std::vector<std::int64_t>& slots() const { return slots_; }
  std::int64_t nodes() const { return nodes_; }

  void build() {
    Team& team = context_.team;
    team.begin_stage("build", nodes_, 2 * nodes_, graph_.added());
    team.for_blocks(nodes_, kEncodeGrain, [&](std::int64_t begin, std::int64_t end, int) {
      PairCodec::Buffers buffers;
      for (std::int64_t node = begin; node < end && !team.stopped(); ++node) {
        codec_.encode(corpus_, order_[static_cast<std::size_t>(node)], buffers,
                      reinterpret_cast<std::int8_t*>(codes_.data()) + node * codec_.bytes());
      }
      team.add_work(end - begin);
    });
    const std::vector<std::uint32_t> order = random_order(nodes_, context_.options.seed);
    const auto left = std::span(order).subspan(static_cast<std::size_t>(graph_.added()));
    if (!left.empty()) graph_.add(rows_, left, nodes_, team, [&] { save_if_due(); });
    team.end_stage();
  }

  // Every target: the pools' t is node t. Those that an earlier process has found are in them.
  void search_all(std::int64_t breadth, const RecallEstimate& recall, Pools& pools) {
    std::int64_t first = 0;
    if (const SavedMethodState* saved = context_.saved(); saved && saved->has_pools()) {
      first = saved->read_pools(pools, corpus_.size(), 0);
    }
    std::vector<std::uint32_t> nodes(static_cast<std::size_t>(nodes_));
    std::iota(nodes.begin(), nodes.end(), 0U);
    context_.team.begin_stage("mine", corpus_.size(), nodes_, first);
    const auto save_pools = [&](std::int64_t searched) {
      MethodState state = graph_state();
      state.breadth = breadth;
      state.recall = recall;
      state.pools = &pools;
      state.pool_count = searched;
      context_.save(state);
    };
    in_slices(
        context_.checkpoint, context_.team, first, nodes_, save_pools,
        [&](std::int64_t begin, std::int64_t end) { search(nodes, begin, end, breadth, pools); });
    context_.team.end_stage();
    if (context_.checkpoint != nullptr && context_.checkpoint->due()) save_pools(nodes_);
  }

  // What the searches of targets [first, last) of the pools, node nodes[t] each, find is scored.
  void search(const std::vector<std::uint32_t>& nodes, std::int64_t first, std::int64_t last,
              std::int64_t breadth, Pools& pools) {
    Team& team = context_.team;
    team.for_blocks(
        last - first, kSearchGrain, [&](std::int64_t begin, std::int64_t end, int worker) {
          GraphSearch& search = searches_[static_cast<std::size_t>(worker)];
          Scorer scorer(corpus_);
          for (std::int64_t t = first + begin; t < first + end && !team.stopped(); ++t) {
            const std::uint32_t own = nodes[static_cast<std::size_t>(t)];
            graph_.search_from(rows_, own, breadth, maxima_, search);
            for (const auto* found : {&search.best(), &search.duplicates()}) {
              for (const Neighbour& other : *found) {
                if (other.node == own || other.similarity + kCodeError < pools.threshold(t))
                  continue;
                pools.score_pair(t, order_[other.node], -1, scorer);
              }
            }
          }
          team.add_work(end - begin);
        });
  }

 private:
  MethodState graph_state() {
    MethodState state;
    state.order = &context_.prepared().order();
    state.sample = &sample_.exact();
    state.graph = &graph_;
    return state;
  }
  void save_if_due() {
    if (context_.checkpoint != nullptr && context_.checkpoint->due()) {
      context_.save(graph_state());
    }
  }

  MethodContext& context_;
  const RecallSample& sample_;
  const Corpus& corpus_;
  const std::vector<std::uint32_t>& order_;  // node -> row
  const std::int64_t nodes_;
  const PairCodec codec_;
  ScratchMemory codes_;
  const PairCodeView rows_;
  Graph graph_;
  const GraphSearch::Maxima maxima_;
  std::vector<GraphSearch> searches_;
  std::vector<std::int64_t> slots_;
};

// The sample's recall with searches of this breadth.
RecallEstimate measure(GraphMiner& miner, const RecallSample& sample, MethodContext& context,
                       std::int64_t breadth) {
  const auto& targets = sample.targets();
  std::vector<std::uint32_t> nodes, rows;
  std::vector<std::int64_t> places;  // in the band
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const std::int64_t node = miner.slots()[static_cast<std::size_t>(targets[i])];
    if (node < 0) continue;
    nodes.push_back(static_cast<std::uint32_t>(node));
    rows.push_back(static_cast<std::uint32_t>(targets[i]));
    places.push_back(static_cast<std::int64_t>(i));
  }
  Pools pools(context.corpus, rows, context.options.k, context.options.skip, context.groups);
  const auto count = static_cast<std::int64_t>(nodes.size());
  context.team.begin_stage("tune", count, count);
  miner.search(nodes, 0, count, breadth, pools);
  context.team.end_stage();
  HardPairBand found = make_band(0, static_cast<std::int64_t>(targets.size()), context.options.k);
  DropCounts unused;
  for (std::int64_t t = 0; t < count; ++t) {
    pools.finish(t, found, places[static_cast<std::size_t>(t)], unused);
  }
  return sample.estimate(found);
}

void check_memory(const MethodContext& context) {
  const std::int64_t bytes = hnsw_bytes(context.corpus);
  if (bytes <= context.memory) return;
  throw Error(ErrorCode::out_of_memory,
              "the graph of " + std::to_string(context.corpus.size()) + " rows takes " +
                  std::to_string(bytes) +
                  " bytes, more than memory = " + std::to_string(context.memory) +
                  "; raise memory=, or use method partition or exact, which need less");
}

}  // namespace

MethodReport mine_hnsw(MethodContext& context, const TargetRange& targets, HardPairSink& sink) {
  const std::int64_t rows = context.corpus.size();
  if (!filters_pay(context.corpus, rows)) {
    MethodReport report = mine_exact(context, targets, sink);
    report.has_recall = true;
    report.recall = {rows, 1.0, 1.0, 1.0};
    report.hnsw = {std::max<std::int64_t>(1, rows - 1), true};
    return report;
  }
  check_memory(context);
  const RecallSample sample(context);
  context.drop_codes();
  GraphMiner miner(context, sample);

  MethodReport report;
  report.has_recall = true;
  const std::int64_t widest = std::min(rows, hnsw_last_breadth(context.kept()));
  std::int64_t breadth = std::min(widest, hnsw_first_breadth(context.kept()));
  const SavedMethodState* saved = context.saved();
  if (saved != nullptr && saved->has_pools()) {
    breadth = saved->breadth(widest);
    report.recall = saved->recall();
    miner.build();
  } else {
    miner.build();
    report.recall = measure(miner, sample, context, breadth);
    while (report.recall.low < context.options.recall && breadth < widest) {
      breadth = std::min(widest, breadth + breadth / 2);
      report.recall = measure(miner, sample, context, breadth);
    }
  }
  report.hnsw = {breadth, report.recall.low >= context.options.recall};

  // Searches go through the order, so pools of all rows are kept: on disk where memory is too
  // small.
  const std::int64_t pool_bytes =
      miner.nodes() * Pools::bytes_per_target(context.options.k, context.options.skip);
  const bool fits = pool_bytes <= context.memory - hnsw_bytes(context.corpus);
  Pools pools(context.corpus, context.prepared().order().rows, context.options.k,
              context.options.skip, context.groups,
              fits ? std::filesystem::path() : context.scratch);
  miner.search_all(breadth, report.recall, pools);
  context.team.begin_stage("write", rows, 1);
  write_pools(pools, miner.slots(), 0, context.options.k, sink, report.drops, context.team);
  context.team.end_stage();
  return report;
}

}  // namespace helip::mining
