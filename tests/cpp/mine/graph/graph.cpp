#include "mine/graph/graph.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <set>

#include "base/aligned.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr GraphOptions kOptions{16, 40};
const ProgressCallback kSilent;

// A data set, its codes, and a graph of them that was built in some steps.
class BuiltGraph {
 public:
  BuiltGraph(const Data& data, const std::vector<std::int64_t>& steps, int threads = 2)
      : corpus_(data.image.view(), data.text.view(), Rules(), select_kernel()),
        codec_(corpus_.image_dimensions(), corpus_.text_dimensions(), false, select_kernel()),
        codes_(allocate_aligned<std::int8_t>(corpus_.size() * codec_.bytes())),
        graph_(kOptions) {
    PairCodec::Buffers buffers;
    for (std::int64_t row = 0; row < corpus_.size(); ++row) {
      codec_.encode(corpus_, row, buffers, codes_.get() + row * codec_.bytes());
    }
    Team team(threads, kSilent);
    std::int64_t first = 0;
    for (const std::int64_t last : steps) {
      std::vector<std::uint32_t> order = random_order(last - first, 1);
      for (std::uint32_t& node : order) node += static_cast<std::uint32_t>(first);
      graph_.add(rows(), order, last, team);
      first = last;
    }
  }

  PairCodeView rows() const { return {&codec_, codes_.get()}; }
  const Graph& graph() const { return graph_; }
  Graph& graph() { return graph_; }

  // All nodes, closest to `node` first.
  std::vector<Neighbour> sorted(std::uint32_t node) const {
    std::vector<const std::int8_t*> others;
    for (std::uint32_t i = 0; i < graph_.nodes(); ++i) others.push_back(rows().row(i));
    const float threshold = -2.0F;
    PairCodec::Compared compared;
    codec_.compare(rows().row(node), others.data(), graph_.nodes(), &threshold, 0, compared);
    std::vector<Neighbour> all;
    for (std::uint32_t i = 0; i < graph_.nodes(); ++i) all.push_back({compared.similarity[i], i});
    std::sort(all.begin(), all.end(), closer);
    return all;
  }

  double recall(std::int64_t k, std::int64_t breadth, bool from_own_node) const {
    std::int64_t hits = 0, wanted = 0;
    GraphSearch search;
    for (std::uint32_t node = 0; node < graph_.nodes(); node += 7) {
      if (from_own_node) {
        graph_.search_from(rows(), node, breadth, {}, search);
      } else {
        graph_.search(rows(), rows().row(node), breadth, {}, search);
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
  PairCodec codec_;
  AlignedArray<std::int8_t> codes_;
  Graph graph_;
};

std::vector<std::uint32_t> links_of(const Graph& graph) {
  std::vector<std::uint32_t> all;
  for (std::uint32_t node = 0; node < graph.nodes(); ++node) {
    const auto links = graph.links(node);
    all.insert(all.end(), links.begin(), links.end());
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
  const auto wanted = links_of(BuiltGraph(data, {1000, 1500}, 1).graph());
  REQUIRE(links_of(BuiltGraph(data, {1000, 1500}, 5).graph()) == wanted);
}

TEST_CASE("links are no more than the degree, lead to others, and each once", "[graph]") {
  const BuiltGraph built(clustered_data(1500, 32, 24, DType::float32, 3, 60, 0.8), {1500});
  for (std::uint32_t node = 0; node < 1500; ++node) {
    const auto links = built.graph().links(node);
    const auto end = std::find(links.begin(), links.end(), Graph::kNone);
    REQUIRE(end - links.begin() >= kOptions.degree / 4);
    REQUIRE(std::all_of(end, links.end(), [](std::uint32_t to) { return to == Graph::kNone; }));
    const std::set<std::uint32_t> each(links.begin(), end);
    REQUIRE(each.size() == static_cast<std::size_t>(end - links.begin()));
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
    built.graph().search(built.rows(), built.rows().row(node), 64, {}, search);
    for (const Neighbour& other : search.best()) found.insert(other.node);
  }
  REQUIRE(found.size() > 1190);
}

TEST_CASE("near duplicates take no place among the best", "[graph]") {
  const Data data = clustered_data(1000, 32, 24, DType::float32, 3, 60, 0.8);
  const BuiltGraph built(data, {1000});
  GraphSearch search;
  built.graph().search_from(built.rows(), 5, 20, {0.9F, 0.9F}, search);
  REQUIRE(search.best().size() == 20);
  const auto is_in = [](const std::vector<Neighbour>& list, std::uint32_t node) {
    return std::any_of(list.begin(), list.end(),
                       [node](const Neighbour& other) { return other.node == node; });
  };
  REQUIRE(!is_in(search.best(), 5));
  REQUIRE(is_in(search.duplicates(), 5));
}

TEST_CASE("what add() did on its way can be undone, to the last link") {
  const Data data = clustered_data(600, 32, 16);
  for (const int rounds : {1, 3}) {  // that are over when it fails
    BuiltGraph built(data, {400});
    Graph& graph = built.graph();
    const std::vector<std::uint32_t> before(graph.links().begin(), graph.links().end());
    std::vector<std::uint32_t> order = random_order(200, 1);
    for (std::uint32_t& node : order) node += 400;
    Graph::Before kept(graph);
    Team team(2, kSilent);
    int done = 0;
    const auto fail = [&] {
      if (++done == rounds) throw std::bad_alloc();
    };
    CHECK_THROWS_AS(graph.add(built.rows(), order, 600, team, fail, &kept), std::bad_alloc);
    CHECK(!std::equal(before.begin(), before.end(), graph.links().begin()));
    graph.undo(kept);
    CHECK(graph.nodes() == 400);
    CHECK(graph.added() == 400);
    CHECK(std::equal(before.begin(), before.end(), graph.links().begin(), graph.links().end()));
    graph.add(built.rows(), order, 600, team);
    const BuiltGraph at_once(data, {400, 600});
    CHECK(std::equal(graph.links().begin(), graph.links().end(), at_once.graph().links().begin()));
  }
}

TEST_CASE("a graph of nothing finds nothing", "[graph]") {
  const BuiltGraph built(clustered_data(5, 8, 8), {});
  GraphSearch search;
  built.graph().search(built.rows(), built.rows().row(0), 10, {}, search);
  REQUIRE(search.best().empty());
}
