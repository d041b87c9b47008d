// Approximate mining by a graph over the product kernel, see product_graph.h. Rows are added to it,
// then each searches from its own node, so broadly that the lower 95 % limit of the measured recall
// is what was asked for.
#include <algorithm>
#include <numeric>
#include <string>

#include "helip/error.h"
#include "mine/budget/budget.h"
#include "mine/corpus/scorer.h"
#include "mine/graph/product_graph.h"
#include "mine/method/method.h"
#include "mine/method/recall_sample.h"
#include "mine/pool/bands.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kEncodeGrain = 256;
constexpr std::int64_t kSearchGrain = 32;

// Node n of the graph is the row at place n of the order: what lies close is read together.
class GraphMiner {
 public:
  explicit GraphMiner(MethodContext& context)
      : context_(context),
        corpus_(context.corpus),
        order_(context.prepared().order().rows),
        nodes_(static_cast<std::int64_t>(order_.size())),
        codec_(corpus_.image_dimensions(), corpus_.text_dimensions(),
               corpus_.rules().signed_products, corpus_.kernel()),
        graph_(codec_, kHnswGraph),
        limits_{code_limit(corpus_.rules().image_max), code_limit(corpus_.rules().text_max)},
        searches_(static_cast<std::size_t>(context.team.size())),
        slots_(static_cast<std::size_t>(corpus_.size()), -1) {
    for (std::int64_t node = 0; node < nodes_; ++node) {
      slots_[order_[static_cast<std::size_t>(node)]] = node;
    }
  }

  // row -> node; -1 for a zero row
  const std::vector<std::int64_t>& slots() const { return slots_; }
  std::int64_t nodes() const { return nodes_; }

  void build() {
    Team& team = context_.team;
    team.begin_stage("build", nodes_, 2 * nodes_);
    graph_.reserve(ProductGraph::Room(nodes_));
    team.for_blocks(nodes_, kEncodeGrain, [&](std::int64_t begin, std::int64_t end, int) {
      PairCodec::Buffers buffers;
      for (std::int64_t node = begin; node < end && !team.stopped(); ++node) {
        codec_.encode(corpus_, order_[static_cast<std::size_t>(node)], buffers,
                      graph_.mutable_code(node));
      }
      team.add_work(end - begin);
    });
    graph_.add(random_order(nodes_, context_.options.seed), team);
    team.end_stage();
  }

  // Every target: the pools' t is node t.
  void search_all(std::int64_t breadth, Pools& pools) {
    std::vector<std::uint32_t> nodes(static_cast<std::size_t>(nodes_));
    std::iota(nodes.begin(), nodes.end(), 0U);
    context_.team.begin_stage("mine", corpus_.size(), nodes_);
    search(nodes, nodes_, breadth, pools);
    context_.team.end_stage();
  }

  // What the searches of the first targets of the pools, node nodes[t] each, find is scored.
  void search(const std::vector<std::uint32_t>& nodes, std::int64_t count, std::int64_t breadth,
              Pools& pools) {
    Team& team = context_.team;
    team.for_blocks(count, kSearchGrain, [&](std::int64_t begin, std::int64_t end, int worker) {
      GraphSearch& search = searches_[static_cast<std::size_t>(worker)];
      Scorer scorer(corpus_);
      for (std::int64_t t = begin; t < end && !team.stopped(); ++t) {
        const std::uint32_t own = nodes[static_cast<std::size_t>(t)];
        graph_.search_from(own, breadth, limits_, search);
        for (const auto* found : {&search.best(), &search.duplicates()}) {
          for (const Neighbour& other : *found) {
            if (other.node == own || other.similarity + kCodeError < pools.threshold(t)) continue;
            pools.score_pair(t, order_[other.node], -1, scorer);
          }
        }
      }
      team.add_work(end - begin);
    });
  }

 private:
  MethodContext& context_;
  const Corpus& corpus_;
  const std::vector<std::uint32_t>& order_;  // node -> row
  const std::int64_t nodes_;
  const PairCodec codec_;
  ProductGraph graph_;
  const GraphSearch::Limits limits_;
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
  miner.search(nodes, count, breadth, pools);
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
  GraphMiner miner(context);

  MethodReport report;
  report.has_recall = true;
  const std::int64_t widest = std::min(rows, hnsw_last_breadth(context.kept()));
  std::int64_t breadth = std::min(widest, hnsw_first_breadth(context.kept()));
  miner.build();
  report.recall = measure(miner, sample, context, breadth);
  while (report.recall.low < context.options.recall && breadth < widest) {
    breadth = std::min(widest, breadth + breadth / 2);
    report.recall = measure(miner, sample, context, breadth);
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
  miner.search_all(breadth, pools);
  context.team.begin_stage("write", rows, 1);
  write_pools(pools, miner.slots(), 0, context.options.k, sink, report.drops, context.team);
  context.team.end_stage();
  return report;
}

}  // namespace helip::mining
