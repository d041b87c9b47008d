// A navigable small world of pairs (arXiv 1603.09320) over the product kernel: each node has links
// to nodes that are like it in different ways, and a search follows those that lead closer.
//
// The links of a node are chosen as in HNSW: best first, a candidate counts unless it is closer to
// one that was chosen than to the node; the best of the others fill up. There are no upper layers:
// at hundreds of dimensions a search that starts at the best of some √N nodes is as good (arXiv
// 2412.01940).
//
// Nodes are added in rounds that grow with the graph (arXiv 2305.04359): those of a round search
// the graph as it is before the round, so that the result does not depend on threads.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/team.h"
#include "mine/graph/pair_codes.h"

namespace helip::mining {

struct Neighbour {
  float similarity;
  std::uint32_t node;
};

// Falling similarity, rising node.
inline bool closer(const Neighbour& a, const Neighbour& b) {
  return a.similarity != b.similarity ? a.similarity > b.similarity : a.node < b.node;
}

struct GraphOptions {
  std::int64_t degree = 32;   // most links of a node, at least 2
  std::int64_t breadth = 80;  // of the searches that find the links
};

// The numbers 0 .. count - 1 in random order, the same for the same seed everywhere.
std::vector<std::uint32_t> random_order(std::int64_t count, std::uint64_t seed);

// Nodes that a search of so many begins with.
std::int64_t starts_of(std::int64_t nodes);

// One thread's search.
class GraphSearch {
 public:
  // A neighbour whose cosine lies above either is looked at and passed through, but takes no place
  // among the best: a near duplicate.
  struct Maxima {
    float image = 2.0F;
    float text = 2.0F;
  };

  // The best `breadth` of those that the search saw, best first, and the near duplicates.
  const std::vector<Neighbour>& best() const noexcept { return best_; }
  const std::vector<Neighbour>& duplicates() const noexcept { return duplicates_; }

 private:
  friend class Graph;

  std::vector<std::uint64_t> seen_;                      // a bit for each node
  std::vector<std::uint32_t> nodes_;                     // that were seen
  std::vector<Neighbour> frontier_, best_, duplicates_;  // heaps but the last
  std::vector<const std::int8_t*> rows_;
  PairCodec::Compared compared_;
  // For choosing links.
  std::vector<Neighbour> candidates_, kept_;
  std::vector<std::uint32_t> left_;
  std::vector<float> thresholds_;
  std::vector<bool> chosen_;
};

class Graph {
 public:
  static constexpr std::uint32_t kNone = ~0U;

  explicit Graph(const GraphOptions& options) : options_(options) {}
  // As it was after some round of add(): links [nodes, degree].
  Graph(const GraphOptions& options, std::vector<std::uint32_t>&& links,
        std::vector<std::uint32_t> starts, std::int64_t added);
  Graph(Graph&&) = default;  // not to be copied: links_ shows owned_
  Graph& operator=(Graph&&) = default;
  // As it was saved: links [nodes, degree], which must stay until add() copies them, the first
  // time.
  Graph(const GraphOptions& options, std::span<const std::uint32_t> links,
        std::vector<std::uint32_t> starts, std::int64_t added);

  static std::int64_t bytes_per_node(const GraphOptions& options) noexcept {
    return options.degree * static_cast<std::int64_t>(sizeof(std::uint32_t));
  }

  // What add() changes of the nodes that were there, so that it can be undone.
  class Before {
   public:
    explicit Before(const Graph& graph) : nodes_(graph.nodes()), added_(graph.added()) {}

   private:
    friend class Graph;
    void keep(const Graph& graph, std::uint32_t node);

    std::int64_t nodes_, added_;
    std::vector<bool> is_kept_;         // [nodes]
    std::vector<std::uint32_t> kept_;   // nodes
    std::vector<std::uint32_t> links_;  // [kept, degree], as they were
  };

  // Adds nodes in this order; best in random order. `nodes` is one more than the greatest node.
  // Adds nodes.size() to the team's work. Rows that are not added have no links and are not found.
  // Calls after_round() when some are added: to add those that are left of the order goes on from
  // there. With `before` undo() can take back what was done, also where it failed on its way.
  void add(const PairCodeView& rows, std::span<const std::uint32_t> order, std::int64_t nodes,
           Team& team, const std::function<void()>& after_round = {}, Before* before = nullptr);
  void undo(const Before& before) noexcept;

  // From the starting nodes of the graph, or from a node whose row the query is.
  void search(const PairCodeView& rows, const std::int8_t* query, std::int64_t breadth,
              const GraphSearch::Maxima& maxima, GraphSearch& search) const;
  void search_from(const PairCodeView& rows, std::uint32_t node, std::int64_t breadth,
                   const GraphSearch::Maxima& maxima, GraphSearch& search) const;

  std::int64_t nodes() const noexcept {
    return static_cast<std::int64_t>(links_.size()) / options_.degree;
  }
  std::int64_t added() const noexcept { return added_; }  // nodes that have been
  const GraphOptions& options() const noexcept { return options_; }
  // Links of a node; kNone after the last.
  std::span<const std::uint32_t> links(std::uint32_t node) const noexcept {
    return {links_.data() + static_cast<std::int64_t>(node) * options_.degree,
            static_cast<std::size_t>(options_.degree)};
  }
  std::span<const std::uint32_t> links() const noexcept { return links_; }  // [nodes, degree]
  const std::vector<std::uint32_t>& starts() const noexcept { return starts_; }

 private:
  struct Link {
    std::uint32_t to, from;
  };

  void begin(GraphSearch& search) const;
  void walk(const PairCodeView& rows, const std::int8_t* query, std::int64_t breadth,
            const GraphSearch::Maxima& maxima, GraphSearch& search) const;
  void see(std::uint32_t node, GraphSearch& search) const;
  void compare_seen(const PairCodeView& rows, const std::int8_t* query, std::int64_t breadth,
                    const GraphSearch::Maxima& maxima, GraphSearch& search) const;
  void choose(const PairCodeView& rows, std::uint32_t node, std::int64_t most,
              GraphSearch& search) const;
  void find_links(const PairCodeView& rows, std::uint32_t node, GraphSearch& search,
                  std::uint32_t* links) const;
  void take_links(const PairCodeView& rows, std::span<const Link> links, GraphSearch& search);
  void join(const PairCodeView& rows, std::span<const std::uint32_t> round,
            std::span<const std::uint32_t> found, std::vector<GraphSearch>& searches, Team& team,
            Before* before);
  std::uint32_t* mutable_links(std::uint32_t node) noexcept {
    return owned_.data() + static_cast<std::int64_t>(node) * options_.degree;
  }

  GraphOptions options_;
  std::vector<std::uint32_t> owned_;      // what links_ shows, unless they are mapped
  std::span<const std::uint32_t> links_;  // [nodes, degree]
  std::vector<std::uint32_t> starts_;     // the nodes that were added first
  std::int64_t added_ = 0;
};

}  // namespace helip::mining
