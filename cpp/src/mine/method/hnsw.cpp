// Approximate mining by a graph over the product kernel, see graph.h. Rows are added to it, then
// each searches from its own node, so broadly that the lower 95 % limit of the measured recall is
// what was asked for.
#include "mine/method/hnsw.h"

#include <algorithm>
#include <numeric>

#include "helip/error.h"
#include "mine/method/engine.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kEncodeGrain = 256;
constexpr std::int64_t kSearchGrain = 32;

// Node n of the graph is the row at place n of the order: what lies close is read together.
// Building and searching may be done by one process after another.
class GraphMiner {
 public:
  GraphMiner(const Context& context, const RecallSample& sample)
      : context_(context),
        sample_(sample),
        corpus_(context.corpus),
        order_(context.filters().order().rows),
        nodes_(static_cast<std::int64_t>(order_.size())),
        codec_(corpus_.image_dimensions(), corpus_.text_dimensions(),
               corpus_.rules().signed_products, corpus_.kernel()),
        codes_(std::max<std::int64_t>(1, nodes_) * codec_.bytes()),
        rows_{&codec_, reinterpret_cast<const std::int8_t*>(codes_.data())},
        graph_(kHnswGraph),
        limits_{static_cast<float>(corpus_.rules().image_max) + kCodeError,
                static_cast<float>(corpus_.rules().text_max) + kCodeError},
        searches_(static_cast<std::size_t>(context.team.size())),
        slots_(static_cast<std::size_t>(corpus_.size()), -1) {
    for (std::int64_t node = 0; node < nodes_; ++node) {
      slots_[order_[static_cast<std::size_t>(node)]] = node;
    }
    if (const SavedState* saved = context.saved()) restore_graph(*saved);
  }

  // row -> node; -1 for a zero row
  const std::vector<std::int64_t>& slots() const { return slots_; }
  std::int64_t nodes() const { return nodes_; }

  void build() {
    Team& team = context_.team;
    team.begin_stage("build", nodes_, 2 * nodes_, graph_.added());
    team.for_blocks(nodes_, kEncodeGrain, [&](std::int64_t begin, std::int64_t end, int) {
      PairCodec::Scratch scratch;
      for (std::int64_t node = begin; node < end && !team.stopped(); ++node) {
        codec_.encode(corpus_, order_[static_cast<std::size_t>(node)], scratch,
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
    if (const SavedState* saved = context_.saved(); saved && saved->has("pools.held")) {
      first = pools.restore(*saved);
    }
    std::vector<std::uint32_t> nodes(static_cast<std::size_t>(nodes_));
    std::iota(nodes.begin(), nodes.end(), 0U);
    context_.team.begin_stage("mine", corpus_.size(), nodes_, first);
    const auto save_pools = [&](std::int64_t searched) {
      CheckpointState state = graph_state();
      state.progress["breadth"] = breadth;
      state.progress["recall"] = recall_json(recall);
      pools.save(searched, state);
      context_.checkpoint->save(state);
    };
    in_slices(
        context_.checkpoint, context_.team, first, nodes_, save_pools,
        [&](std::int64_t begin, std::int64_t end) { search(nodes, begin, end, breadth, pools); });
    context_.team.end_stage();
    if (context_.checkpoint != nullptr && context_.checkpoint->due()) save_pools(nodes_);
  }

  // Targets [first, last) of the pools, node nodes[t] each, meet what their searches find.
  void search(const std::vector<std::uint32_t>& nodes, std::int64_t first, std::int64_t last,
              std::int64_t breadth, Pools& pools) {
    Team& team = context_.team;
    team.for_blocks(
        last - first, kSearchGrain, [&](std::int64_t begin, std::int64_t end, int worker) {
          GraphSearch& search = searches_[static_cast<std::size_t>(worker)];
          Scorer scorer(corpus_);
          for (std::int64_t t = first + begin; t < first + end && !team.stopped(); ++t) {
            const std::uint32_t own = nodes[static_cast<std::size_t>(t)];
            graph_.search_from(rows_, own, breadth, limits_, search);
            for (const auto* found : {&search.best(), &search.duplicates()}) {
              for (const Neighbour& other : *found) {
                if (other.node == own || other.similarity + kCodeError < pools.need(t)) continue;
                pools.meet(t, order_[other.node], -1, scorer);
              }
            }
          }
          team.add_work(end - begin);
        });
  }

 private:
  CheckpointState graph_state() const {
    CheckpointState state;
    state.progress["added"] = graph_.added();
    save(context_.filters().order(), state);
    sample_.save(state);
    state.show("graph.links", graph_.links().data(),
               static_cast<std::int64_t>(graph_.links().size()));
    state.show("graph.starts", graph_.starts().data(),
               static_cast<std::int64_t>(graph_.starts().size()));
    return state;
  }
  void save_if_due() const {
    if (context_.checkpoint != nullptr && context_.checkpoint->due()) {
      context_.checkpoint->save(graph_state());
    }
  }
  void restore_graph(const SavedState& saved) {
    auto links = saved.read<std::uint32_t>("graph.links");
    auto starts = saved.read<std::uint32_t>("graph.starts");
    const auto added = saved.at<std::int64_t>("added");
    saved.require(static_cast<std::int64_t>(links.size()) == nodes_ * kHnswGraph.degree,
                  "its graph has not a node for each row");
    saved.require(added >= 0 && added <= nodes_ && starts.empty() == (added == 0),
                  "its graph is not one of these rows");
    for (const auto* nodes : {&links, &starts}) {
      for (const std::uint32_t node : *nodes) {
        saved.require(node == Graph::kNone || node < nodes_, "a link leads to no node");
      }
    }
    graph_ = Graph(kHnswGraph, std::move(links), std::move(starts), added);
  }

  const Context& context_;
  const RecallSample& sample_;
  const Corpus& corpus_;
  const std::vector<std::uint32_t>& order_;  // node -> row
  const std::int64_t nodes_;
  const PairCodec codec_;
  ScratchMemory codes_;
  const PairRows rows_;
  Graph graph_;
  const GraphSearch::Limits limits_;
  std::vector<GraphSearch> searches_;
  std::vector<std::int64_t> slots_;
};

// The sample's recall with searches of this breadth.
RecallEstimate measure(GraphMiner& miner, const RecallSample& sample, const Context& context,
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

void check_memory(const Context& context) {
  const std::int64_t bytes = hnsw_bytes(context.corpus);
  if (bytes <= context.memory) return;
  throw Error(ErrorCode::out_of_memory,
              "the graph of " + std::to_string(context.corpus.size()) + " rows takes " +
                  std::to_string(bytes) +
                  " bytes, more than memory = " + std::to_string(context.memory) +
                  "; raise memory=, or use method partition or exact, which need less");
}

}  // namespace

std::int64_t hnsw_first_breadth(std::int64_t kept) noexcept { return kept + kept / 4 + 16; }

std::int64_t hnsw_last_breadth(std::int64_t kept) noexcept {
  return std::max(kHnswWidest, 2 * hnsw_first_breadth(kept));
}

std::int64_t hnsw_bytes(const Corpus& corpus) noexcept {
  const PairCodec codec(corpus.image_dimensions(), corpus.text_dimensions(),
                        corpus.rules().signed_products, corpus.kernel());
  return corpus.size() * (codec.bytes() + Graph::bytes_per_node(kHnswGraph) +
                          static_cast<std::int64_t>(sizeof(std::int64_t)));
}

Report mine_hnsw(const Context& context, HardPairSink& sink) {
  const std::int64_t rows = context.corpus.size();
  if (!filters_pay(context.corpus, rows)) {
    Report report = mine_exact(context, {0, rows, 0, rows}, sink);
    report.has_recall = true;
    report.recall = {rows, 1.0, 1.0, 1.0};
    report.hnsw = {std::max<std::int64_t>(1, rows - 1), true};
    return report;
  }
  check_memory(context);
  const RecallSample sample(context);
  context.drop_codes();
  GraphMiner miner(context, sample);

  Report report;
  report.has_recall = true;
  const std::int64_t widest = std::min(rows, hnsw_last_breadth(context.kept()));
  std::int64_t breadth = std::min(widest, hnsw_first_breadth(context.kept()));
  const SavedState* saved = context.saved();
  if (saved != nullptr && saved->has("pools.held")) {
    breadth = saved->at<std::int64_t>("breadth");
    report.recall = recall_of_json(saved->at<nlohmann::json>("recall"));
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
  Pools pools(context.corpus, context.filters().order().rows, context.options.k,
              context.options.skip, context.groups,
              fits ? std::filesystem::path() : context.scratch);
  miner.search_all(breadth, report.recall, pools);
  context.team.begin_stage("write", rows, 1);
  write_pools(context, pools, miner.slots(), 0, sink, report.drops);
  context.team.end_stage();
  return report;
}

}  // namespace helip::mining
