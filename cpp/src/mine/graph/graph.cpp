#include "mine/graph/graph.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace helip::mining {
namespace {

constexpr float kNoThreshold = -std::numeric_limits<float>::infinity();
constexpr float kSame = 0.995F;  // the similarity of two copies, and more
constexpr std::int64_t kLeastStarts = 256;
// A round adds at most these fractions of what is there, and of what there will be: nodes of a
// round do not find each other.
constexpr std::int64_t kGrowth = 8;
constexpr std::int64_t kRounds = 50;
constexpr std::int64_t kGrain = 16;
constexpr std::uint64_t kStream = 0x6772'6170'68ULL;  // apart from other draws of a seed

bool further(const Neighbour& a, const Neighbour& b) { return closer(b, a); }

}  // namespace

std::int64_t starts_of(std::int64_t nodes) {
  return std::max(kLeastStarts, static_cast<std::int64_t>(std::sqrt(static_cast<double>(nodes))));
}

std::vector<std::uint32_t> random_order(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed ^ kStream);
  std::vector<std::uint64_t> keys(static_cast<std::size_t>(count));
  for (std::uint64_t& key : keys) key = random();
  std::vector<std::uint32_t> order(keys.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return keys[a] != keys[b] ? keys[a] < keys[b] : a < b;
  });
  return order;
}

Graph::Graph(const GraphOptions& options, std::span<const std::uint32_t> links,
             std::vector<std::uint32_t> starts, std::int64_t added)
    : options_(options), links_(links), starts_(std::move(starts)), added_(added) {}

Graph::Graph(const GraphOptions& options, std::vector<std::uint32_t>&& links,
             std::vector<std::uint32_t> starts, std::int64_t added)
    : options_(options),
      owned_(std::move(links)),
      links_(owned_),
      starts_(std::move(starts)),
      added_(added) {}

void Graph::see(std::uint32_t node, GraphSearch& search) const {
  std::uint64_t& word = search.seen_[node / 64];
  const std::uint64_t bit = std::uint64_t{1} << (node % 64);
  if ((word & bit) != 0) return;
  word |= bit;
  search.nodes_.push_back(node);
}

// Compares the query with the nodes that were seen since the last time.
void Graph::compare_seen(const PairCodeView& rows, const std::int8_t* query, std::int64_t breadth,
                         const GraphSearch::Maxima& maxima, GraphSearch& search) const {
  const std::size_t first = search.rows_.size();
  for (std::size_t i = first; i < search.nodes_.size(); ++i) {
    const std::int8_t* row = rows.row(search.nodes_[i]);
    PairCodec::prefetch(row);
    search.rows_.push_back(row);
  }
  const std::size_t count = search.nodes_.size() - first;
  if (count == 0) return;
  auto& best = search.best_;
  const auto most = static_cast<std::size_t>(breadth);
  float threshold = best.size() == most ? best.front().similarity : kNoThreshold;
  rows.codec->compare(query, search.rows_.data() + first, static_cast<std::int64_t>(count),
                      &threshold, 0, search.compared_);
  for (std::size_t i = 0; i < count; ++i) {
    const float similarity = search.compared_.similarity[i];
    if (similarity <= threshold) continue;
    const Neighbour found{similarity, search.nodes_[first + i]};
    search.frontier_.push_back(found);
    std::push_heap(search.frontier_.begin(), search.frontier_.end(), further);
    if (search.compared_.image[i] > maxima.image || search.compared_.text[i] > maxima.text) {
      search.duplicates_.push_back(found);
      continue;
    }
    if (best.size() == most) {
      std::pop_heap(best.begin(), best.end(), closer);
      best.pop_back();
    }
    best.push_back(found);
    std::push_heap(best.begin(), best.end(), closer);
    if (best.size() == most) threshold = best.front().similarity;
  }
}

void Graph::walk(const PairCodeView& rows, const std::int8_t* query, std::int64_t breadth,
                 const GraphSearch::Maxima& maxima, GraphSearch& search) const {
  compare_seen(rows, query, breadth, maxima, search);
  auto& frontier = search.frontier_;
  while (!frontier.empty()) {
    std::pop_heap(frontier.begin(), frontier.end(), further);
    const Neighbour next = frontier.back();
    frontier.pop_back();
    if (static_cast<std::int64_t>(search.best_.size()) == breadth &&
        next.similarity < search.best_.front().similarity) {
      break;
    }
    if (!frontier.empty()) __builtin_prefetch(links(frontier.front().node).data());
    for (const std::uint32_t node : links(next.node)) {
      if (node == kNone) break;
      see(node, search);
    }
    compare_seen(rows, query, breadth, maxima, search);
  }
  std::sort_heap(search.best_.begin(), search.best_.end(), closer);
}

void Graph::begin(GraphSearch& search) const {
  for (const std::uint32_t node : search.nodes_) search.seen_[node / 64] = 0;
  search.seen_.resize(static_cast<std::size_t>(nodes() / 64 + 1));
  search.nodes_.clear();
  search.rows_.clear();
  search.frontier_.clear();
  search.best_.clear();
  search.duplicates_.clear();
}

void Graph::search(const PairCodeView& rows, const std::int8_t* query, std::int64_t breadth,
                   const GraphSearch::Maxima& maxima, GraphSearch& search) const {
  begin(search);
  for (const std::uint32_t node : starts_) see(node, search);
  walk(rows, query, breadth, maxima, search);
}

void Graph::search_from(const PairCodeView& rows, std::uint32_t node, std::int64_t breadth,
                        const GraphSearch::Maxima& maxima, GraphSearch& search) const {
  begin(search);
  see(node, search);
  walk(rows, rows.row(node), breadth, maxima, search);
}

// Leaves in kept_ the links of a node to candidates_: best first, a candidate counts unless it is
// closer to one that was kept than to the node, or the same. Places that are left go to the best of
// the others: without them some nodes would be found by no search. Copies come in the order of a
// ring that begins at the node, so that each of them gets its share of links.
void Graph::choose(const PairCodeView& rows, std::uint32_t node, std::int64_t most,
                   GraphSearch& search) const {
  auto& candidates = search.candidates_;
  std::sort(candidates.begin(), candidates.end(), [node](const Neighbour& a, const Neighbour& b) {
    return a.similarity != b.similarity ? a.similarity > b.similarity
                                        : a.node - node < b.node - node;
  });
  auto& kept = search.kept_;
  kept.clear();
  auto& left = search.left_;  // candidates that nothing kept so far is closer to
  left.resize(candidates.size());
  std::iota(left.begin(), left.end(), 0U);
  auto& chosen = search.chosen_;
  chosen.assign(candidates.size(), false);
  while (!left.empty() && static_cast<std::int64_t>(kept.size()) < most) {
    const Neighbour& own = candidates[left.front()];
    chosen[left.front()] = true;
    kept.push_back(own);
    search.rows_.clear();
    search.thresholds_.clear();
    for (std::size_t i = 1; i < left.size(); ++i) {
      search.rows_.push_back(rows.row(candidates[left[i]].node));
      search.thresholds_.push_back(std::min(candidates[left[i]].similarity, kSame));
    }
    rows.codec->compare(rows.row(own.node), search.rows_.data(),
                        static_cast<std::int64_t>(search.rows_.size()), search.thresholds_.data(),
                        1, search.compared_);
    std::size_t stay = 0;
    for (std::size_t i = 1; i < left.size(); ++i) {
      if (search.compared_.similarity[i - 1] <= search.thresholds_[i - 1]) left[stay++] = left[i];
    }
    left.resize(stay);
  }
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (static_cast<std::int64_t>(kept.size()) >= most) break;
    if (!chosen[i]) kept.push_back(candidates[i]);
  }
}

// Half of the places stay free for links that lead back.
void Graph::find_links(const PairCodeView& rows, std::uint32_t node, GraphSearch& own,
                       std::uint32_t* links) const {
  search(rows, rows.row(node), options_.breadth, {}, own);
  own.candidates_.clear();
  for (const Neighbour& found : own.best_) {
    if (found.node != node) own.candidates_.push_back(found);
  }
  choose(rows, node, options_.degree / 2, own);
  std::fill_n(links, options_.degree, kNone);
  for (const Neighbour& kept : own.kept_) *links++ = kept.node;
}

// All links are to one node, which gets the way back.
void Graph::take_links(const PairCodeView& rows, std::span<const Link> more, GraphSearch& search) {
  const std::uint32_t node = more.front().to;
  std::uint32_t* links = mutable_links(node);
  std::int64_t count = 0;
  while (count < options_.degree && links[count] != kNone) ++count;
  auto& nodes = search.left_;
  nodes.assign(links, links + count);
  for (const Link& link : more) {
    if (std::find(nodes.begin(), nodes.end(), link.from) == nodes.end()) nodes.push_back(link.from);
  }
  if (static_cast<std::int64_t>(nodes.size()) <= options_.degree) {
    std::copy(nodes.begin(), nodes.end(), links);
    return;
  }
  search.rows_.clear();
  for (const std::uint32_t other : nodes) search.rows_.push_back(rows.row(other));
  rows.codec->compare(rows.row(node), search.rows_.data(), static_cast<std::int64_t>(nodes.size()),
                      &kNoThreshold, 0, search.compared_);
  search.candidates_.clear();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    search.candidates_.push_back({search.compared_.similarity[i], nodes[i]});
  }
  choose(rows, node, options_.degree, search);
  std::fill_n(links, options_.degree, kNone);
  for (const Neighbour& kept : search.kept_) *links++ = kept.node;
}

// Nodes of a round get the links that they found, and the nodes at the other ends those back.
void Graph::join(const PairCodeView& rows, std::span<const std::uint32_t> round,
                 std::span<const std::uint32_t> found, std::vector<GraphSearch>& searches,
                 Team& team, Before* before) {
  std::vector<Link> links;
  for (std::size_t i = 0; i < round.size(); ++i) {
    const auto own = found.subspan(i * static_cast<std::size_t>(options_.degree),
                                   static_cast<std::size_t>(options_.degree));
    std::copy(own.begin(), own.end(), mutable_links(round[i]));
    for (const std::uint32_t to : own) {
      if (to == kNone) break;
      links.push_back({to, round[i]});
    }
  }
  std::sort(links.begin(), links.end(), [](const Link& a, const Link& b) {
    return a.to != b.to ? a.to < b.to : a.from < b.from;
  });
  std::vector<std::size_t> begins;
  for (std::size_t i = 0; i < links.size(); ++i) {
    if (i > 0 && links[i].to == links[i - 1].to) continue;
    begins.push_back(i);
    if (before != nullptr) before->keep(*this, links[i].to);
  }
  const auto ends = static_cast<std::int64_t>(begins.size());
  begins.push_back(links.size());
  team.for_blocks(ends, kGrain, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t i = begin; i < end && !team.stopped(); ++i) {
      const std::size_t first = begins[static_cast<std::size_t>(i)];
      const std::size_t last = begins[static_cast<std::size_t>(i) + 1];
      take_links(rows, std::span(links).subspan(first, last - first),
                 searches[static_cast<std::size_t>(worker)]);
    }
  });
}

void Graph::add(const PairCodeView& rows, std::span<const std::uint32_t> order, std::int64_t nodes,
                Team& team, const std::function<void()>& after_round, Before* before) {
  if (owned_.empty()) owned_.assign(links_.begin(), links_.end());
  owned_.resize(static_cast<std::size_t>(nodes * options_.degree), kNone);
  links_ = owned_;
  std::vector<GraphSearch> searches(static_cast<std::size_t>(team.size()));
  std::vector<std::uint32_t> round, found;
  const auto total = static_cast<std::int64_t>(order.size());
  const std::int64_t all = added_ + total;
  for (std::int64_t done = 0; done < total;) {
    std::int64_t count = total - done;
    if (added_ == 0) {
      count = std::min(count, starts_of(all));
      starts_.assign(order.begin(), order.begin() + count);
    } else {
      count = std::min({count, std::max<std::int64_t>(1, all / kRounds),
                        std::max<std::int64_t>(1, added_ / kGrowth)});
    }
    round.assign(order.begin() + done, order.begin() + done + count);
    std::sort(round.begin(), round.end());  // what lies together is worked on together
    found.resize(static_cast<std::size_t>(count * options_.degree));
    team.for_blocks(count, kGrain, [&](std::int64_t begin, std::int64_t end, int worker) {
      for (std::int64_t i = begin; i < end && !team.stopped(); ++i) {
        find_links(rows, round[static_cast<std::size_t>(i)],
                   searches[static_cast<std::size_t>(worker)], found.data() + i * options_.degree);
      }
      team.add_work(end - begin);
    });
    join(rows, round, found, searches, team, before);
    done += count;
    added_ += count;
    team.report();
    if (after_round) after_round();
  }
}

void Graph::Before::keep(const Graph& graph, std::uint32_t node) {
  if (static_cast<std::int64_t>(node) >= nodes_) return;
  if (is_kept_.empty()) is_kept_.resize(static_cast<std::size_t>(nodes_));
  if (is_kept_[node]) return;
  const std::span<const std::uint32_t> links = graph.links(node);
  links_.insert(links_.end(), links.begin(), links.end());
  kept_.push_back(node);
  is_kept_[node] = true;
}

void Graph::undo(const Before& before) noexcept {
  if (owned_.empty()) return;
  const auto degree = static_cast<std::ptrdiff_t>(options_.degree);
  for (std::size_t i = 0; i < before.kept_.size(); ++i) {
    const auto links = before.links_.begin() + static_cast<std::ptrdiff_t>(i) * degree;
    std::copy(links, links + degree, mutable_links(before.kept_[i]));
  }
  owned_.resize(static_cast<std::size_t>(before.nodes_ * degree));  // shorter
  links_ = owned_;
  added_ = before.added_;
  if (added_ == 0) starts_.clear();
}

}  // namespace helip::mining
