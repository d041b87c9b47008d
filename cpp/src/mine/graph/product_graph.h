// hnswlib's graph (HNSW, arXiv 1603.09320) of pairs, with the product of both cosines as its
// distance: 1 − similarity, by int8 codes (pair_codes.h).
//
// Nodes, links, marks, locks and the rule that chooses links are hnswlib's. Three things are ours.
// A search compares all new neighbours of a node at a time, and leaves those unread that cannot
// reach what is wanted; it reads links under hnswlib's lock of their node, so that nodes may be
// added meanwhile. Nodes are added in rounds that grow with the graph (arXiv 2305.04359): those of
// a round search the graph as it is before, so that the links do not depend on threads. And all
// nodes are on one level: at hundreds of dimensions a search that starts at the best of some √N
// nodes is as good as one that comes from upper levels (arXiv 2412.01940).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>
#include <queue>
#include <span>
#include <vector>

#include "base/scratch_memory.h"
#include "base/team.h"
#include "helip/matrix.h"
#include "mine/graph/pair_codes.h"

// Its own products, in SSE and AVX, are not used.
#define NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>

namespace helip::mining {

struct Neighbour {
  float similarity;
  std::uint32_t node;
};

// A search that finds too few is widened by the first, up to the second; beyond it all nodes are
// looked at in order.
inline constexpr std::int64_t kWidening = 4, kWidest = 4096;

// Of a search for the k best, unless somebody says more.
constexpr std::int64_t usual_breadth(std::int64_t k) noexcept {
  return std::max<std::int64_t>(64, 2 * k);
}

// Falling similarity, rising node.
inline bool closer(const Neighbour& a, const Neighbour& b) {
  return a.similarity != b.similarity ? a.similarity > b.similarity : a.node < b.node;
}

struct GraphOptions {
  std::int64_t degree = 32;   // most links of a node, even: hnswlib's 2 M
  std::int64_t breadth = 80;  // of the searches that find the links: its ef_construction
};

// The numbers 0 .. count - 1 in random order, the same for the same seed everywhere.
std::vector<std::uint32_t> random_order(std::int64_t count, std::uint64_t seed);

// One thread's search.
class GraphSearch {
 public:
  // Who takes a place among the best. Others are looked at and passed through: those of a cosine
  // above either, near duplicates, and those that are not allowed, where somebody says.
  struct Limits {
    float image = 2.0F;
    float text = 2.0F;
    const std::function<bool(std::uint32_t)>* allows = nullptr;
    std::int64_t most_seen = std::numeric_limits<std::int64_t>::max();  // then the search ends
  };

  // The best `breadth` of those that the search saw, best first, and the near duplicates.
  const std::vector<Neighbour>& best() const noexcept { return best_; }
  const std::vector<Neighbour>& duplicates() const noexcept { return duplicates_; }
  // Whether it ended at Limits::most_seen, before it came to the best.
  bool is_cut() const noexcept { return is_cut_; }

 private:
  friend class ProductGraph;

  std::vector<std::uint64_t> seen_;                      // a bit for each node
  std::vector<std::uint32_t> nodes_;                     // that were seen
  std::vector<Neighbour> frontier_, best_, duplicates_;  // heaps but the last
  std::vector<const std::int8_t*> rows_;
  PairCodec::Compared compared_;
  bool is_cut_ = false;
};

// What hnswlib asks for: how long the data of a node is, and how far two are from each other.
class ProductSpace : public hnswlib::SpaceInterface<float> {
 public:
  ProductSpace(const PairCodec& codec, const GraphOptions& options);
  std::size_t get_data_size() override {
    return padding_ + static_cast<std::size_t>(codec_.bytes());
  }
  hnswlib::DISTFUNC<float> get_dist_func() override { return &distance; }
  void* get_dist_func_param() override { return this; }

 protected:
  const PairCodec& codec() const noexcept { return codec_; }
  // Bytes before the code of a node, so that it lies on a cache line.
  std::size_t padding() const noexcept { return padding_; }

 private:
  static float distance(const void* a, const void* b, const void* space);

  const PairCodec codec_;
  const std::size_t padding_;
};

// Nodes are the numbers of rows. One thread at a time adds, marks or reserves; any number search
// meanwhile, but not while room is reserved.
class ProductGraph : private ProductSpace, private hnswlib::HierarchicalNSW<float> {
 public:
  ProductGraph(const PairCodec& codec, const GraphOptions& options);
  ~ProductGraph();
  ProductGraph(const ProductGraph&) = delete;
  ProductGraph& operator=(const ProductGraph&) = delete;

  const PairCodec& codec() const noexcept { return ProductSpace::codec(); }
  const GraphOptions& options() const noexcept { return options_; }

  // Links and code of a node, one after the other; a multiple of a cache line.
  std::int64_t node_bytes() const noexcept {
    return static_cast<std::int64_t>(size_data_per_element_);
  }
  // What so many nodes take, with what hnswlib has beside them.
  static std::int64_t bytes(const PairCodec& codec, const GraphOptions& options,
                            std::int64_t nodes) noexcept;
  const char* node(std::int64_t i) const noexcept { return data_level0_memory_ + i * node_bytes(); }
  std::int8_t* mutable_code(std::int64_t i) noexcept {
    return reinterpret_cast<std::int8_t*>(getDataByInternalId(static_cast<unsigned>(i))) +
           padding();
  }
  const std::int8_t* code(std::int64_t i) const noexcept {
    return reinterpret_cast<const std::int8_t*>(node(i)) + offsetData_ + padding();
  }
  std::span<const std::uint32_t> links(std::uint32_t node) const noexcept {
    const auto* list = get_linklist0(node);
    return {list + 1, getListCount(const_cast<unsigned*>(list))};
  }

  // What takes its time when there shall be room for more.
  struct Room {
    explicit Room(std::int64_t nodes)
        : levels(static_cast<std::size_t>(nodes)), locks(static_cast<std::size_t>(nodes)) {}
    std::vector<int> levels;
    std::vector<std::mutex> locks;
  };
  // Room for more nodes. They may move, so nobody must look at them meanwhile.
  void reserve(Room&& room);
  // In a child of fork: a thread of the parent may have held some.
  void renew_locks();
  // Shows nodes that somebody else owns and nobody changes, until reserve() copies them.
  void show(const void* nodes, std::int64_t count);
  // Whether a node can be searched from, as one of a saved graph of `count` must be.
  bool is_sound(std::int64_t node, std::int64_t count) const noexcept;

  // It stays in the graph, to be passed through, and is found no more; until it is restored, with
  // the same code or, if nobody looks meanwhile, another one.
  void remove(std::int64_t node) noexcept;
  void restore(std::int64_t node) noexcept;
  std::int64_t removed() const noexcept { return static_cast<std::int64_t>(num_deleted_); }
  bool is_removed(std::int64_t node) const noexcept {
    return (mark(node).load(std::memory_order_acquire) & DELETE_MARK) != 0;
  }

  // Links these nodes, whose codes are there, in this order; best in random order. Those that have
  // links, of an earlier code, lose them. Adds nodes.size() to the team's work. The same links for
  // any team. Where it fails some are linked.
  void add(std::span<const std::uint32_t> nodes, Team& team);
  // For a node that is not linked again: it leads nowhere.
  void drop_links(std::uint32_t node);
  // Nodes that a search begins with: some √N of the first `settled` ones, at equal distances.
  void settle(std::int64_t settled) noexcept { settled_ = settled; }

  void search(const std::int8_t* query, std::int64_t breadth, const GraphSearch::Limits& limits,
              GraphSearch& search) const;
  // From the node itself.
  void search_from(std::uint32_t node, std::int64_t breadth, const GraphSearch::Limits& limits,
                   GraphSearch& search) const;

 private:
  // Where hnswlib marks deleted nodes: behind the number of links.
  std::atomic_ref<unsigned char> mark(std::int64_t node) const noexcept {
    return std::atomic_ref(*(
        reinterpret_cast<unsigned char*>(get_linklist0(static_cast<hnswlib::tableint>(node))) + 2));
  }
  void begin(GraphSearch& search) const;
  void see(std::uint32_t node, GraphSearch& search) const;
  void compare_seen(const std::int8_t* query, std::int64_t breadth,
                    const GraphSearch::Limits& limits, GraphSearch& search) const;
  void walk(const std::int8_t* query, std::int64_t breadth, const GraphSearch::Limits& limits,
            GraphSearch& search) const;
  struct Link {
    std::uint32_t to, from;
  };
  using Candidates =
      std::priority_queue<std::pair<float, hnswlib::tableint>,
                          std::vector<std::pair<float, hnswlib::tableint>>, CompareByFirst>;
  void find_links(std::uint32_t node, std::span<const std::uint32_t> starts, GraphSearch& search,
                  std::span<std::uint32_t> out);
  void take_links(std::uint32_t node, std::span<const Link> more);
  void add_round(std::span<const std::uint32_t> round, std::span<const std::uint32_t> starts,
                 std::vector<GraphSearch>& searches, Team& team);

  const GraphOptions options_;
  ScratchMemory memory_;  // of the nodes, unless they are shown
  std::atomic<std::int64_t> settled_ = 0;
};

}  // namespace helip::mining
