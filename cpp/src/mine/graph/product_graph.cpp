#include "mine/graph/product_graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <mutex>
#include <numeric>
#include <random>
#include <utility>

namespace helip::mining {
namespace {

constexpr float kNoThreshold = -std::numeric_limits<float>::infinity();
constexpr std::int64_t kLeastStarts = 256;
constexpr std::int64_t kStartsOfBuilding = 64;
// A round adds at most these fractions of what is there, and of what there will be.
constexpr std::int64_t kGrowth = 8;
constexpr std::int64_t kRounds = 50;
constexpr std::int64_t kGrain = 16;
constexpr std::uint64_t kStream = 0x6772'6170'68ULL;  // apart from other draws of a seed
constexpr std::size_t kLine = 64;
constexpr std::uint32_t kNone = ~0U;

bool further(const Neighbour& a, const Neighbour& b) { return closer(b, a); }

constexpr std::size_t up_to_line(std::size_t bytes) { return (bytes + kLine - 1) / kLine * kLine; }

std::size_t bytes_of_links(const GraphOptions& options) {
  return sizeof(hnswlib::linklistsizeint) +
         static_cast<std::size_t>(options.degree) * sizeof(hnswlib::tableint);
}

// What sets equal rows apart: their order in a ring that begins at the node, so that each of them
// gets its share of links.
float apart(std::uint32_t node, std::uint32_t other) {
  return 1e-5F * static_cast<float>(other - node) * 0x1p-32F;
}

}  // namespace

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

ProductSpace::ProductSpace(const PairCodec& codec, const GraphOptions& options)
    : codec_(codec), padding_(up_to_line(bytes_of_links(options)) - bytes_of_links(options)) {}

float ProductSpace::distance(const void* a, const void* b, const void* space) {
  const auto& own = *static_cast<const ProductSpace*>(space);
  return 1.0F - own.codec_.similarity(static_cast<const std::int8_t*>(a) + own.padding_,
                                      static_cast<const std::int8_t*>(b) + own.padding_);
}

ProductGraph::ProductGraph(const PairCodec& codec, const GraphOptions& options)
    : ProductSpace(codec, options),
      HierarchicalNSW(static_cast<ProductSpace*>(this), 0,
                      static_cast<std::size_t>(options.degree / 2),
                      static_cast<std::size_t>(options.breadth)),
      options_(options) {
  std::free(std::exchange(data_level0_memory_, nullptr));
  size_data_per_element_ = label_offset_;  // links, padding and code: the row is label enough
  std::vector<std::mutex>().swap(label_op_locks_);
}

// The memory of the nodes is not hnswlib's to free.
ProductGraph::~ProductGraph() { data_level0_memory_ = nullptr; }

std::int64_t ProductGraph::bytes(const PairCodec& codec, const GraphOptions& options,
                                 std::int64_t nodes) noexcept {
  const auto beside = static_cast<std::int64_t>(up_to_line(bytes_of_links(options)) +
                                                sizeof(std::mutex) + sizeof(int));
  return nodes * (beside + codec.bytes());
}

void ProductGraph::reserve(Room&& room) {
  const auto bytes = static_cast<std::int64_t>(room.levels.size()) * node_bytes();
  if (memory_.data() != nullptr) {
    memory_.grow(bytes);
  } else {
    ScratchMemory own(bytes);
    if (data_level0_memory_ != nullptr) {
      std::memcpy(own.data(), data_level0_memory_, max_elements_ * size_data_per_element_);
    }
    memory_ = std::move(own);
  }
  data_level0_memory_ = memory_.data();
  max_elements_ = room.levels.size();
  element_levels_.swap(room.levels);
  link_list_locks_.swap(room.locks);
}

void ProductGraph::renew_locks() {
  // Not destroyed: locks that are held may not be.
  auto* old = new std::vector<std::mutex>(link_list_locks_.size());
  old->swap(link_list_locks_);
}

void ProductGraph::remove(std::int64_t node) noexcept {
  mark(node).fetch_or(DELETE_MARK, std::memory_order_release);
  num_deleted_ += 1;
}

void ProductGraph::restore(std::int64_t node) noexcept {
  mark(node).fetch_and(static_cast<unsigned char>(~DELETE_MARK), std::memory_order_release);
  num_deleted_ -= 1;
}

void ProductGraph::show(const void* nodes, std::int64_t count) {
  data_level0_memory_ = static_cast<char*>(const_cast<void*>(nodes));
  max_elements_ = static_cast<std::size_t>(count);
  for (std::int64_t node = 0; node < count; ++node) num_deleted_ += is_removed(node) ? 1 : 0;
}

bool ProductGraph::is_sound(std::int64_t node, std::int64_t count) const noexcept {
  const auto own = links(static_cast<std::uint32_t>(node));
  return own.size() <= maxM0_ && codec().is_sound(code(node)) &&
         std::all_of(own.begin(), own.end(),
                     [count](std::uint32_t to) { return std::int64_t{to} < count; });
}

void ProductGraph::see(std::uint32_t node, GraphSearch& search) const {
  std::uint64_t& word = search.seen_[node / 64];
  const std::uint64_t bit = std::uint64_t{1} << (node % 64);
  if ((word & bit) != 0) return;
  search.nodes_.push_back(node);  // first, for it may throw
  word |= bit;
}

// Compares the query with the nodes that were seen since the last time.
void ProductGraph::compare_seen(const std::int8_t* query, std::int64_t breadth,
                                const GraphSearch::Limits& limits, GraphSearch& search) const {
  const std::size_t first = search.rows_.size();
  for (std::size_t i = first; i < search.nodes_.size(); ++i) {
    const std::int8_t* row = code(search.nodes_[i]);
    PairCodec::prefetch(row);
    search.rows_.push_back(row);
  }
  const std::size_t count = search.nodes_.size() - first;
  if (count == 0) return;
  auto& best = search.best_;
  const auto most = static_cast<std::size_t>(breadth);
  const bool removed = num_deleted_ > 0;
  float threshold = best.size() == most ? best.front().similarity : kNoThreshold;
  codec().compare(query, search.rows_.data() + first, static_cast<std::int64_t>(count), &threshold,
                  0, search.compared_);
  for (std::size_t i = 0; i < count; ++i) {
    const float similarity = search.compared_.similarity[i];
    if (similarity <= threshold) continue;
    const Neighbour found{similarity, search.nodes_[first + i]};
    search.frontier_.push_back(found);
    std::push_heap(search.frontier_.begin(), search.frontier_.end(), further);
    if (search.compared_.image[i] > limits.image || search.compared_.text[i] > limits.text) {
      search.duplicates_.push_back(found);
      continue;
    }
    if (removed && is_removed(found.node)) continue;
    if (limits.allows != nullptr && !(*limits.allows)(found.node)) continue;
    if (best.size() == most) {
      std::pop_heap(best.begin(), best.end(), closer);
      best.pop_back();
    }
    best.push_back(found);
    std::push_heap(best.begin(), best.end(), closer);
    if (best.size() == most) threshold = best.front().similarity;
  }
}

void ProductGraph::walk(const std::int8_t* query, std::int64_t breadth,
                        const GraphSearch::Limits& limits, GraphSearch& search) const {
  compare_seen(query, breadth, limits, search);
  auto& frontier = search.frontier_;
  const bool changes = memory_.data() != nullptr;
  while (!frontier.empty()) {
    std::pop_heap(frontier.begin(), frontier.end(), further);
    const Neighbour next = frontier.back();
    frontier.pop_back();
    if (static_cast<std::int64_t>(search.best_.size()) == breadth &&
        next.similarity < search.best_.front().similarity) {
      break;
    }
    search.is_cut_ = static_cast<std::int64_t>(search.nodes_.size()) > limits.most_seen;
    if (search.is_cut_) break;
    if (!frontier.empty()) __builtin_prefetch(node(frontier.front().node));
    {
      std::unique_lock<std::mutex> lock;
      if (changes) lock = std::unique_lock(const_cast<std::mutex&>(link_list_locks_[next.node]));
      for (const std::uint32_t to : links(next.node)) see(to, search);
    }
    compare_seen(query, breadth, limits, search);
  }
  std::sort_heap(search.best_.begin(), search.best_.end(), closer);
}

void ProductGraph::begin(GraphSearch& search) const {
  for (const std::uint32_t node : search.nodes_) search.seen_[node / 64] = 0;
  search.seen_.resize(max_elements_ / 64 + 1);
  search.nodes_.clear();
  search.rows_.clear();
  search.frontier_.clear();
  search.best_.clear();
  search.duplicates_.clear();
  search.is_cut_ = false;
}

void ProductGraph::search(const std::int8_t* query, std::int64_t breadth,
                          const GraphSearch::Limits& limits, GraphSearch& search) const {
  begin(search);
  const std::int64_t nodes = settled_;
  const auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(nodes)));
  const std::int64_t starts = std::min(nodes, std::max(kLeastStarts, root));
  for (std::int64_t i = 0; i < starts; ++i) {
    see(static_cast<std::uint32_t>(i * nodes / starts), search);
  }
  walk(query, breadth, limits, search);
}

void ProductGraph::search_from(std::uint32_t node, std::int64_t breadth,
                               const GraphSearch::Limits& limits, GraphSearch& search) const {
  begin(search);
  see(node, search);
  walk(code(node), breadth, limits, search);
}

// Nodes that it leads to no longer lead back, but to each other, as in FreshDiskANN (arXiv
// 2105.09613). Others may lead to it still, which does no harm: a search passes on, and a full list
// of links keeps what is close.
void ProductGraph::drop_links(std::uint32_t node) {
  std::vector<std::uint32_t> others;
  {
    const std::lock_guard lock(link_list_locks_[node]);
    const auto own = links(node);
    others.assign(own.begin(), own.end());
    setListCount(get_linklist0(node), 0);
  }
  std::vector<Link> links;
  for (const std::uint32_t other : others) {
    {
      const std::lock_guard lock(link_list_locks_[other]);
      unsigned* list = get_linklist0(other);
      unsigned* end = list + 1 + getListCount(list);
      unsigned* kept = std::remove(list + 1, end, node);
      if (kept == end) continue;
      setListCount(list, static_cast<std::uint16_t>(kept - list - 1));
    }
    links.clear();
    for (const std::uint32_t from : others) {
      if (from != other) links.push_back({other, from});
    }
    take_links(other, links);
  }
}

// The links of a new node to nodes that are there, at most hnswlib's M.
void ProductGraph::find_links(std::uint32_t node, std::span<const std::uint32_t> starts,
                              GraphSearch& search, std::span<std::uint32_t> out) {
  begin(search);
  for (const std::uint32_t start : starts) see(start, search);
  walk(code(node), options_.breadth, {}, search);
  Candidates candidates;
  for (const Neighbour& other : search.best()) {
    if (other.node != node) {
      candidates.emplace(1.0F - other.similarity + apart(node, other.node), other.node);
    }
  }
  getNeighborsByHeuristic2(candidates, M_);
  std::size_t count = candidates.size();
  for (std::size_t i = count; i-- > 0; candidates.pop()) {
    out[i] = candidates.top().second;  // best first
  }
  // Places that are left go to the best of the others: without them some of many equal rows would
  // be found by no search.
  for (const Neighbour& other : search.best()) {
    if (count == out.size()) break;
    const auto end = out.begin() + static_cast<std::ptrdiff_t>(count);
    if (other.node != node && std::find(out.begin(), end, other.node) == end) {
      out[count++] = other.node;
    }
  }
}

// Gives a node links to more nodes; where they are too many, hnswlib's rule says which stay.
void ProductGraph::take_links(std::uint32_t node, std::span<const Link> more) {
  const std::lock_guard lock(link_list_locks_[node]);
  unsigned* list = get_linklist0(node);
  std::size_t count = getListCount(list);
  // A link to an earlier code of the node may be there.
  const auto is_new = [&, end = list + 1 + count](const Link& link) {
    return std::find(list + 1, end, link.from) == end;
  };
  if (count + more.size() <= maxM0_) {
    for (const Link& link : more) {
      if (is_new(link)) list[1 + count++] = link.from;
    }
  } else {
    Candidates candidates;
    const auto consider = [&](std::uint32_t other) {
      candidates.emplace(
          fstdistfunc_(getDataByInternalId(other), getDataByInternalId(node), dist_func_param_) +
              apart(node, other),
          other);
    };
    for (std::size_t i = 0; i < count; ++i) consider(list[1 + i]);
    for (const Link& link : more) {
      if (is_new(link)) consider(link.from);
    }
    getNeighborsByHeuristic2(candidates, maxM0_);
    for (count = 0; !candidates.empty(); candidates.pop()) {
      list[1 + count++] = candidates.top().second;
    }
  }
  setListCount(list, static_cast<std::uint16_t>(count));
}

// Nodes of a round do not find each other, so what they find does not depend on threads; nor does
// what the others make of the links to them, which come in a fixed order.
void ProductGraph::add_round(std::span<const std::uint32_t> round,
                             std::span<const std::uint32_t> starts,
                             std::vector<GraphSearch>& searches, Team& team) {
  std::vector<std::uint32_t> found(round.size() * M_, kNone);
  team.for_blocks(static_cast<std::int64_t>(round.size()), kGrain,
                  [&](std::int64_t begin, std::int64_t end, int worker) {
                    for (std::int64_t i = begin; i < end && !team.stopped(); ++i) {
                      const auto at = static_cast<std::size_t>(i);
                      find_links(round[at], starts, searches[static_cast<std::size_t>(worker)],
                                 std::span(found).subspan(at * M_, M_));
                    }
                    team.add_work(end - begin);
                  });
  std::vector<Link> links;
  for (std::size_t i = 0; i < found.size(); ++i) {
    if (found[i] == kNone) continue;
    const std::uint32_t from = round[i / M_];
    links.push_back({found[i], from});
    links.push_back({from, found[i]});
  }
  std::stable_sort(links.begin(), links.end(),
                   [](const Link& a, const Link& b) { return a.to < b.to; });
  std::vector<std::size_t> firsts;  // of the links of each node
  for (std::size_t i = 0; i < links.size(); ++i) {
    if (i == 0 || links[i].to != links[i - 1].to) firsts.push_back(i);
  }
  firsts.push_back(links.size());
  team.for_blocks(static_cast<std::int64_t>(firsts.size()) - 1, kGrain,
                  [&](std::int64_t begin, std::int64_t end, int) {
                    for (auto i = static_cast<std::size_t>(begin);
                         i < static_cast<std::size_t>(end) && !team.stopped(); ++i) {
                      take_links(links[firsts[i]].to,
                                 std::span(links).subspan(firsts[i], firsts[i + 1] - firsts[i]));
                    }
                  });
}

void ProductGraph::add(std::span<const std::uint32_t> nodes, Team& team) {
  std::vector<GraphSearch> searches(static_cast<std::size_t>(team.size()));
  const std::int64_t settled = settled_, count = static_cast<std::int64_t>(nodes.size());
  std::vector<bool> comes(static_cast<std::size_t>(settled));  // again, so it leads nowhere yet
  std::int64_t before = settled;
  for (const std::uint32_t node : nodes) {
    if (std::int64_t{node} < settled) {
      comes[node] = true;
      --before;
    }
    if (!links(node).empty()) drop_links(node);
  }
  std::vector<std::uint32_t> starts;
  const std::int64_t most = std::min(before, kStartsOfBuilding);
  for (std::int64_t i = 0, node = 0; i < most; ++i) {
    node = std::max(node, i * settled / most);
    while (node < settled && comes[static_cast<std::size_t>(node)]) ++node;
    if (node == settled) break;
    starts.push_back(static_cast<std::uint32_t>(node++));
  }
  for (std::int64_t done = 0, round; done < count; done += round) {
    const std::int64_t there = before + done;
    round = std::min({count - done, there / kGrowth, (before + count) / kRounds});
    round = std::max<std::int64_t>(1, round);
    const auto own = nodes.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(round));
    add_round(own, starts, searches, team);
    for (const std::uint32_t node : own) {
      if (static_cast<std::int64_t>(starts.size()) < kStartsOfBuilding) starts.push_back(node);
    }
  }
}

}  // namespace helip::mining
