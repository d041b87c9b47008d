#include "mine/stream/streaming_graph.h"

#include <algorithm>
#include <functional>

#include "base/aligned.h"
#include "mine/graph/pair_codes.h"

namespace helip::mining {
namespace {

constexpr std::uint32_t kNone = ~0U;
constexpr std::int64_t kGrain = 16;

}  // namespace

StreamingGraph::StreamingGraph(RowMemory& memory, const StreamDimensions& dimensions,
                               const Rules& rules, const Kernel& kernel)
    : memory_(memory),
      dimensions_(dimensions),
      rules_(rules),
      kernel_(kernel),
      graph_(PairCodec(dimensions.image, dimensions.text, rules.signed_products, kernel), {}) {}

HardPairBand StreamingGraph::search(std::span<const StreamRow> batch, const Corpus& corpus,
                                    std::int64_t k, Team& team) {
  const auto count = static_cast<std::int64_t>(batch.size());
  HardPairBand band = search_stream(batch, count, k, dimensions_, rules_, kernel_, team);
  if (slot_of_node_.empty()) return band;
  std::vector<std::pair<std::int64_t, const StreamRow*>> own;  // by id
  for (const StreamRow& row : batch) own.emplace_back(row.id, &row);
  std::sort(own.begin(), own.end());
  const auto row_of = [&](std::int64_t id) {
    return std::lower_bound(own.begin(), own.end(), std::pair{id, (const StreamRow*)nullptr});
  };
  const std::function<bool(std::uint32_t)> is_other = [&](std::uint32_t node) {
    const std::int64_t id = memory_.row(slot_of_node_[node]).id;
    const auto found = row_of(id);
    return found == own.end() || found->first != id;
  };
  const bool superseded = std::any_of(batch.begin(), batch.end(),
                                      [&](const StreamRow& row) { return memory_.holds(row.id); });
  const GraphSearch::Limits limits{code_limit(rules_.image_max), code_limit(rules_.text_max),
                                   superseded ? &is_other : nullptr};
  std::vector<GraphSearch> searches(static_cast<std::size_t>(team.size()));
  team.for_blocks(count, kGrain, [&](std::int64_t begin, std::int64_t end, int worker) {
    PairCodec::Buffers buffers;
    const auto code = allocate_aligned<std::int8_t>(graph_.codec().bytes());
    std::vector<Scored> best;
    for (std::int64_t i = begin; i < end && !team.stopped(); ++i) {
      if (corpus.is_zero(i)) continue;
      const StreamRow& target = batch[static_cast<std::size_t>(i)];
      best.clear();
      for (std::int64_t rank = 0; rank < band.counts[static_cast<std::size_t>(i)]; ++rank) {
        const std::int64_t id = band.ids[static_cast<std::size_t>(i * k + rank)];
        best.push_back(*scored_pair(target, *row_of(id)->second, dimensions_, rules_, kernel_));
      }
      graph_.codec().encode(corpus, i, buffers, code.get());
      find(target, code.get(), k, limits, searches[static_cast<std::size_t>(worker)], best);
      write_pool(best, i, band);
    }
    team.add_work(end - begin);
  });
  return band;
}

// `best`: of the batch, best first.
void StreamingGraph::find(const StreamRow& target, const std::int8_t* code, std::int64_t k,
                          const GraphSearch::Limits& limits, GraphSearch& search,
                          std::vector<Scored>& best) const {
  const std::vector<Scored> own = best;
  std::int64_t found = 0;
  const auto hopeless = [&](const Neighbour& other) {
    const bool full = static_cast<std::int64_t>(best.size()) == k;
    return static_cast<double>(other.similarity + kCodeError) <
           (full ? best.back().score : rules_.min_score);
  };
  const auto score = [&](std::uint32_t node) {
    if (graph_.is_removed(node) || (limits.allows != nullptr && !(*limits.allows)(node))) return;
    const auto pair =
        scored_pair(target, memory_.row(slot_of_node_[node]), dimensions_, rules_, kernel_);
    if (!pair) return;
    ++found;
    insert_ranked(best, *pair, k);
  };
  for (std::int64_t breadth = usual_breadth(k);; breadth *= kWidening) {
    graph_.search(code, breadth, limits, search);
    best = own;
    found = 0;
    for (const auto* others : {&search.best(), &search.duplicates()}) {
      for (const Neighbour& other : *others) {
        if (!hopeless(other)) score(other.node);
      }
    }
    const bool saw_all = static_cast<std::int64_t>(search.best().size()) < breadth;
    if (found >= k || saw_all || hopeless(search.best().back())) return;
    if (kWidening * breadth > kWidest) break;
  }
  // Near duplicates, which codes do not tell from others close to the limit, took the places.
  best = own;
  for (std::uint32_t node = 0; node < slot_of_node_.size(); ++node) score(node);
}

void StreamingGraph::put(std::span<const StreamRow> batch, const Corpus& corpus, Team& team) {
  const auto count = static_cast<std::int64_t>(batch.size());
  auto used = static_cast<std::int64_t>(slot_of_node_.size());
  std::vector<std::uint32_t> nodes(batch.size(), kNone), order;
  std::size_t reused = 0;
  for (const std::uint32_t i : random_order(count, 0)) {
    if (corpus.is_zero(i)) continue;
    nodes[i] =
        reused < free_.size() ? free_[free_.size() - ++reused] : static_cast<std::uint32_t>(used++);
    order.push_back(nodes[i]);
  }
  if (used > capacity_) {
    const std::int64_t most = std::min(capacity_ + capacity_ / 2, memory_.capacity() + count);
    const std::int64_t capacity = std::max(used, most);
    graph_.reserve(ProductGraph::Room(capacity));
    capacity_ = capacity;
  }
  // What may throw comes before the nodes are known.
  free_.reserve(static_cast<std::size_t>(used));
  const std::int64_t slots = std::min(memory_.size() + count, memory_.capacity());
  node_of_slot_.resize(static_cast<std::size_t>(slots), kNone);
  slot_of_node_.resize(static_cast<std::size_t>(used), kNone);
  const auto leave = [&](std::uint32_t node) noexcept {
    graph_.remove(node);
    free_.push_back(node);
  };

  free_.resize(free_.size() - reused);
  for (std::size_t i = 0; i < reused; ++i) graph_.restore(order[i]);
  try {
    team.for_blocks(count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      PairCodec::Buffers buffers;
      for (std::int64_t i = begin; i < end; ++i) {
        const std::uint32_t node = nodes[static_cast<std::size_t>(i)];
        if (node == kNone) continue;
        graph_.codec().encode(corpus, i, buffers, graph_.mutable_code(node));
      }
    });
    graph_.add(order, team);
    memory_.put(batch, [&](std::size_t i, std::uint32_t slot) {
      if (node_of_slot_[slot] != kNone) leave(node_of_slot_[slot]);
      node_of_slot_[slot] = nodes[i];
      if (nodes[i] != kNone) slot_of_node_[nodes[i]] = slot;
    });
  } catch (...) {
    std::for_each(order.begin(), order.end(), leave);
    throw;
  }
  graph_.settle(used);
}

}  // namespace helip::mining
