#include "mine/graph/product_graph.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <set>
#include <thread>

#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr GraphOptions kOptions{16, 40};
const ProgressCallback kSilent;

// A data set, and a graph of it that was built in some steps.
class BuiltGraph {
 public:
  BuiltGraph(const Data& data, const std::vector<std::int64_t>& steps, int threads = 2)
      : corpus_(data.image.view(), data.text.view(), Rules(), select_kernel()),
        graph_(PairCodec(corpus_.image_dimensions(), corpus_.text_dimensions(), false,
                         select_kernel()),
               kOptions) {
    graph_.reserve(ProductGraph::Room(corpus_.size()));
    PairCodec::Buffers buffers;
    for (std::int64_t row = 0; row < corpus_.size(); ++row) {
      graph_.codec().encode(corpus_, row, buffers, graph_.mutable_code(row));
    }
    Team team(threads, kSilent);
    std::int64_t first = 0;
    for (const std::int64_t last : steps) {
      std::vector<std::uint32_t> order = random_order(last - first, 1);
      for (std::uint32_t& node : order) node += static_cast<std::uint32_t>(first);
      graph_.add(order, team);
      graph_.settle(last);
      first = last;
    }
    nodes_ = first;
  }

  const ProductGraph& graph() const { return graph_; }
  ProductGraph& graph() { return graph_; }
  std::uint32_t nodes() const { return static_cast<std::uint32_t>(nodes_); }

  // All nodes, closest to `node` first.
  std::vector<Neighbour> sorted(std::uint32_t node) const {
    std::vector<const std::int8_t*> others;
    for (std::uint32_t i = 0; i < nodes(); ++i) others.push_back(graph_.code(i));
    const float threshold = -2.0F;
    PairCodec::Compared compared;
    graph_.codec().compare(graph_.code(node), others.data(), nodes_, &threshold, 0, compared);
    std::vector<Neighbour> all;
    for (std::uint32_t i = 0; i < nodes(); ++i) all.push_back({compared.similarity[i], i});
    std::sort(all.begin(), all.end(), closer);
    return all;
  }

  double recall(std::int64_t k, std::int64_t breadth, bool from_own_node) const {
    std::int64_t hits = 0, wanted = 0;
    GraphSearch search;
    for (std::uint32_t node = 0; node < nodes(); node += 7) {
      if (from_own_node) {
        graph_.search_from(node, breadth, {}, search);
      } else {
        graph_.search(graph_.code(node), breadth, {}, search);
      }
      const auto exact = sorted(node);
      std::set<std::uint32_t> found;
      for (const Neighbour& other : search.best()) found.insert(other.node);
      for (std::int64_t i = 0; i < k; ++i) {
        hits += static_cast<std::int64_t>(found.count(exact[static_cast<std::size_t>(i)].node));
      }
      wanted += k;
    }
    return static_cast<double>(hits) / static_cast<double>(wanted);
  }

 private:
  Corpus corpus_;
  ProductGraph graph_;
  std::int64_t nodes_ = 0;
};

std::vector<std::vector<std::uint32_t>> links_of(const BuiltGraph& built) {
  std::vector<std::vector<std::uint32_t>> all;
  for (std::uint32_t node = 0; node < built.nodes(); ++node) {
    const auto links = built.graph().links(node);
    all.emplace_back(links.begin(), links.end());
  }
  return all;
}

}  // namespace

TEST_CASE("searches find nearly all of the closest nodes", "[graph]") {
  const BuiltGraph built(clustered_data(3000, 32, 24, DType::float32, 3, 60, 0.8), {3000});
  REQUIRE(built.recall(10, 60, true) > 0.97);
  REQUIRE(built.recall(10, 60, false) > 0.97);
}

TEST_CASE("a graph that was built in steps is as good", "[graph]") {
  const BuiltGraph built(clustered_data(3000, 32, 24, DType::float32, 3, 60, 0.8),
                         {1, 2, 400, 1500, 1501, 3000});
  REQUIRE(built.recall(10, 60, true) > 0.97);
  REQUIRE(built.recall(10, 60, false) > 0.97);
}

TEST_CASE("threads do not change a link", "[graph]") {
  const Data data = clustered_data(1500, 32, 24, DType::float32, 3, 60, 0.8);
  const auto wanted = links_of(BuiltGraph(data, {1000, 1500}, 1));
  REQUIRE(links_of(BuiltGraph(data, {1000, 1500}, 5)) == wanted);
}

TEST_CASE("links are no more than the degree, lead to others, and each once", "[graph]") {
  const BuiltGraph built(clustered_data(1500, 32, 24, DType::float32, 3, 60, 0.8), {1500});
  for (std::uint32_t node = 0; node < 1500; ++node) {
    const auto links = built.graph().links(node);
    REQUIRE(!links.empty());
    REQUIRE(links.size() <= static_cast<std::size_t>(kOptions.degree));
    const std::set<std::uint32_t> each(links.begin(), links.end());
    REQUIRE(each.size() == links.size());
    REQUIRE(each.count(node) == 0);
    REQUIRE(*each.rbegin() < 1500);
  }
}

TEST_CASE("every node can be found", "[graph]") {
  std::vector<double> image = clustered_values(1200, 16, 10, 0.7, 4);
  std::vector<double> text = clustered_values(1200, 16, 10, 0.7, 5);
  for (std::size_t i = 0; i < 1200; ++i) {  // 30 copies of each row, more than the degree
    std::copy_n(image.begin() + static_cast<std::ptrdiff_t>(i / 30 * 30 * 16), 16,
                image.begin() + static_cast<std::ptrdiff_t>(i * 16));
    std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(i / 30 * 30 * 16), 16,
                text.begin() + static_cast<std::ptrdiff_t>(i * 16));
  }
  const BuiltGraph built(
      {Matrix(image, 1200, 16, DType::float32), Matrix(text, 1200, 16, DType::float32)}, {1200});
  GraphSearch search;
  std::set<std::uint32_t> found;
  for (std::uint32_t node = 0; node < 1200; ++node) {
    built.graph().search(built.graph().code(node), 64, {}, search);
    for (const Neighbour& other : search.best()) found.insert(other.node);
  }
  REQUIRE(found.size() > 1190);
}

TEST_CASE("near duplicates take no place among the best", "[graph]") {
  const Data data = clustered_data(1000, 32, 24, DType::float32, 3, 60, 0.8);
  const BuiltGraph built(data, {1000});
  GraphSearch search;
  built.graph().search_from(5, 20, {0.9F, 0.9F}, search);
  REQUIRE(search.best().size() == 20);
  const auto is_in = [](const std::vector<Neighbour>& list, std::uint32_t node) {
    return std::any_of(list.begin(), list.end(),
                       [node](const Neighbour& other) { return other.node == node; });
  };
  REQUIRE(!is_in(search.best(), 5));
  REQUIRE(is_in(search.duplicates(), 5));
}

TEST_CASE("a removed node is found no more, and leads on", "[graph]") {
  const Data data = clustered_data(3000, 32, 24, DType::float32, 3, 60, 0.8);
  BuiltGraph built(data, {3000});
  std::vector<bool> gone(3000, false);
  for (const std::uint32_t node : random_order(3000, 5)) {
    if (built.graph().removed() == 900) break;
    built.graph().remove(node);
    gone[node] = true;
  }
  GraphSearch search;
  std::int64_t hits = 0, wanted = 0;
  for (std::uint32_t node = 0; node < 3000; node += 7) {
    built.graph().search(built.graph().code(node), 60, {}, search);
    std::set<std::uint32_t> found;
    for (const Neighbour& other : search.best()) {
      REQUIRE(!gone[other.node]);
      found.insert(other.node);
    }
    std::int64_t k = 0;
    for (const Neighbour& other : built.sorted(node)) {
      if (gone[other.node]) continue;
      hits += static_cast<std::int64_t>(found.count(other.node));
      if (++k == 10) break;
    }
    wanted += k;
  }
  REQUIRE(static_cast<double>(hits) / static_cast<double>(wanted) > 0.97);
}

TEST_CASE("searches go on while nodes are added", "[graph]") {
  const Data data = clustered_data(3000, 32, 24, DType::float32, 3, 60, 0.8);
  BuiltGraph built(data, {1000});
  std::atomic<bool> added = false;
  std::vector<std::thread> readers;
  std::atomic<std::int64_t> found = 0;
  for (int reader = 0; reader < 3; ++reader) {
    readers.emplace_back([&, reader] {
      GraphSearch search;
      for (std::uint32_t node = static_cast<std::uint32_t>(reader); !added; node += 3) {
        built.graph().search(built.graph().code(node % 1000), 20, {}, search);
        found += static_cast<std::int64_t>(search.best().size());
      }
    });
  }
  std::vector<std::uint32_t> order = random_order(2000, 1);
  for (std::uint32_t& node : order) node += 1000;
  Team team(2, kSilent);
  built.graph().add(order, team);
  added = true;
  for (std::thread& reader : readers) reader.join();
  REQUIRE(found % 20 == 0);
  const BuiltGraph alone(data, {1000, 3000});
  for (std::uint32_t node = 0; node < 3000; ++node) {
    REQUIRE(std::ranges::equal(built.graph().links(node), alone.graph().links(node)));
  }
}

TEST_CASE("a graph of nothing finds nothing", "[graph]") {
  const BuiltGraph built(clustered_data(5, 8, 8), {});
  GraphSearch search;
  built.graph().search(built.graph().code(0), 10, {}, search);
  REQUIRE(search.best().empty());
}
