#include "mine/graph/index_state.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <string>

#include "helip/error.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kEncodeGrain = 256;
// A row that is looked at in order costs about this part of one that a search comes to.
constexpr std::int64_t kScanIsQuicker = 8;

}  // namespace

// What is mapped is copied while others read it; what is in memory moves without a copy.
void IndexState::make_room(std::int64_t rows) {
  const std::int64_t size = parts->rows.size(), capacity = parts->rows.capacity();
  if (!parts->reader && rows <= capacity) return;
  ProductGraph::Room room(std::max(rows, capacity + capacity / 2));
  if (parts->reader) {
    auto own = std::make_unique<IndexParts>(options, image_dimensions, text_dimensions, kernel);
    own->rows.show(size, parts->rows);
    own->graph.show(parts->graph.node(0), size);
    own->reserve(std::move(room));
    own->graph.settle(size);
    parts->reader->require_whole();
    const auto lock = locks.to_move();
    parts.swap(own);
  } else {
    const auto lock = locks.to_move();
    parts->reserve(std::move(room));
  }
}

// Where it fails, what was added is removed: the graph may lead through it already.
std::vector<std::uint32_t> IndexState::append(const Corpus& corpus, const MatrixView& image,
                                              const MatrixView& text,
                                              const std::vector<std::int64_t>& ids, Team& team) {
  const std::int64_t count = corpus.size(), size = parts->rows.size();
  const auto reused = std::min(count, static_cast<std::int64_t>(free_rows.size()));
  const std::int64_t after = size + count - reused;
  if (after > kMostPairs) {
    throw Error(ErrorCode::unsupported, "the index would have " + std::to_string(after) +
                                            " pairs, but can hold " + std::to_string(kMostPairs) +
                                            "; split it");
  }
  make_room(after);
  ProductGraph& graph = parts->graph;
  std::vector<std::uint32_t> rows(free_rows.end() - reused, free_rows.end());
  for (std::int64_t row = size; row < after; ++row) rows.push_back(static_cast<std::uint32_t>(row));
  struct Buffers {
    IndexRows::Buffers row;
    PairCodec::Buffers code;
  };
  const auto write = [&](std::int64_t i, Buffers& buffers) {
    const std::uint32_t row = rows[static_cast<std::size_t>(i)];
    parts->rows.write(row, corpus, image, text, i, ids[static_cast<std::size_t>(i)], buffers.row);
    graph.codec().encode(corpus, i, buffers.code, graph.mutable_code(row));
  };
  team.begin_stage("build", count, count);
  team.for_blocks(count - reused, kEncodeGrain, [&](std::int64_t i, std::int64_t end, int) {
    Buffers buffers;
    for (; i < end && !team.stopped(); ++i) write(reused + i, buffers);
  });
  free_rows.reserve(free_rows.size() + rows.size());
  free_rows.resize(free_rows.size() - static_cast<std::size_t>(reused));
  try {
    Buffers buffers;
    for (std::int64_t i = 0; i < reused;) {
      // Queries may be at these rows: for the time of some of them there are none.
      const auto lock = locks.to_move();
      for (const std::int64_t end = std::min(reused, i + kEncodeGrain); i < end; ++i) {
        write(i, buffers);
        graph.restore(rows[static_cast<std::size_t>(i)]);
      }
    }
    corpus.require_whole();
    std::vector<std::uint32_t> order;
    for (const std::uint32_t i : random_order(count, options.seed)) {
      if (!parts->rows.is_zero(rows[i])) {
        order.push_back(rows[i]);
      } else if (!graph.links(rows[i]).empty()) {
        graph.drop_links(rows[i]);
      }
    }
    graph.add(order, team);
    team.end_stage();
  } catch (...) {
    parts->rows.publish(after);
    remove(rows);
    throw;
  }
  parts->rows.publish(after);
  graph.settle(after);
  return rows;
}

void IndexState::know_rows() {
  if (known) return;
  std::unordered_map<std::int64_t, std::uint32_t> found;
  std::vector<std::uint32_t> removed;
  found.reserve(static_cast<std::size_t>(parts->rows.size()));
  for (std::int64_t row = 0; row < parts->rows.size(); ++row) {
    if (parts->graph.is_removed(row)) {
      removed.push_back(static_cast<std::uint32_t>(row));
      continue;
    }
    found.emplace(parts->rows.id(row), static_cast<std::uint32_t>(row));
    next_id = std::max(next_id, parts->rows.id(row) + 1);
  }
  free_rows = std::move(removed);
  known = std::move(found);
}

std::vector<std::uint32_t> IndexState::rows_of(const std::vector<std::int64_t>& ids) {
  static_cast<void>(checked_ids(ids, static_cast<std::int64_t>(ids.size()), 0));
  know_rows();
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto found = known->find(ids[i]);
    if (found == known->end() || found->second == kNoRow) {
      throw Error(ErrorCode::invalid_argument, "id " + std::to_string(ids[i]) + ", number " +
                                                   std::to_string(i) +
                                                   " of those given, is not in the index");
    }
    rows.push_back(found->second);
  }
  return rows;
}

void IndexState::place(const std::vector<std::int64_t>& ids,
                       const std::vector<std::uint32_t>& rows) {
  const auto lock = locks.to_know();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    known->find(ids[i])->second = rows[i];
    next_id = std::max(next_id, ids[i] + 1);
  }
}

void IndexState::remove(const std::vector<std::uint32_t>& rows) {
  for (const std::uint32_t row : rows) {
    if (!parts->graph.is_removed(row)) parts->graph.remove(row);
  }
  free_rows.insert(free_rows.end(), rows.begin(), rows.end());
}

void IndexState::refuse_known(const std::vector<std::int64_t>& ids) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (known->count(ids[i]) == 0) continue;
    throw Error(ErrorCode::invalid_argument,
                "id " + std::to_string(ids[i]) + " of row " + std::to_string(i) +
                    " is in the index already; give new pairs ids of their own");
  }
}

void IndexState::scan(const PairFilter& allows, Searcher& searcher,
                      const std::function<bool(const Neighbour&)>& score) const {
  constexpr float kAll = -std::numeric_limits<float>::infinity();
  const ProductGraph& graph = parts->graph;
  std::vector<std::uint32_t> nodes;
  std::vector<const std::int8_t*> codes;
  for (std::int64_t row = 0, size = parts->rows.size(); row < size;) {
    nodes.clear();
    codes.clear();
    for (; row < size && static_cast<std::int64_t>(nodes.size()) < kEncodeGrain; ++row) {
      if (graph.is_removed(row) || (allows && !allows(parts->rows.id(row)))) continue;
      nodes.push_back(static_cast<std::uint32_t>(row));
      codes.push_back(graph.code(row));
    }
    graph.codec().compare(searcher.code.get(), codes.data(),
                          static_cast<std::int64_t>(codes.size()), &kAll, 0, searcher.compared);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      score({searcher.compared.similarity[i], nodes[i]});
    }
  }
}

void IndexState::find(const Corpus& queries, std::int64_t query, const Corpus& pairs,
                      std::int64_t breadth, const PairFilter& allows, PairMatches& out,
                      Searcher& searcher) const {
  const IndexRows& rows = parts->rows;
  queries.image()->load(query, searcher.image);
  queries.text()->load(query, searcher.text);
  if (searcher.image.length == 0.0 || searcher.text.length == 0.0) return;
  const PairCodec& codec = parts->graph.codec();
  if (searcher.bytes < codec.bytes()) {
    searcher.code = allocate_aligned<std::int8_t>(codec.bytes());
    searcher.bytes = codec.bytes();
  }
  codec.encode(queries, query, searcher.coding, searcher.code.get());
  const std::function<bool(std::uint32_t)> of_node = [&](std::uint32_t node) {
    return allows(rows.id(node));
  };
  GraphSearch::Limits limits{code_limit(options.image_max), code_limit(options.text_max), nullptr};
  if (allows) {
    limits.allows = &of_node;
    limits.most_seen = std::max(kWidest, rows.size() / kScanIsQuicker);
  }
  auto& matches = searcher.matches;
  matches.clear();
  const auto is_full = [&] { return static_cast<std::int64_t>(matches.size()) == out.k; };
  // Whether it may still have come among the k best.
  const auto score = [&](const Neighbour& found) {
    if (is_full() && static_cast<double>(found.similarity + kCodeError) < matches.back().score) {
      return false;
    }
    const Evaluation evaluated = evaluate(
        pairs.rules(), {pairs.image()->cosine(searcher.image, found.node, searcher.other_image),
                        pairs.text()->cosine(searcher.text, found.node, searcher.other_text)});
    if (evaluated.target == Verdict::kept && evaluated.score > 0.0) {
      insert_ranked(matches, {evaluated.score, rows.id(found.node)}, out.k);
    }
    return true;
  };
  if (breadth == PairIndex::kEveryPair) scan(allows, searcher, score);
  for (; breadth != PairIndex::kEveryPair; breadth *= kWidening) {
    parts->graph.search(searcher.code.get(), breadth, limits, searcher.search);
    matches.clear();
    for (const Neighbour& found : searcher.search.best()) {  // best first
      if (!score(found)) break;
    }
    const auto& best = searcher.search.best();
    const bool is_cut = searcher.search.is_cut();
    const bool saw_all = static_cast<std::int64_t>(best.size()) < breadth;
    // Of too few, either what is further scores nothing, or there is no more; or near duplicates,
    // which codes do not tell from others close to the limit, took the places.
    if (!is_cut && is_full()) break;
    if (!is_cut && (saw_all ? !allows : best.back().similarity + kCodeError <= 0.0F)) break;
    if (is_cut || saw_all || kWidening * breadth > kWidest) {
      matches.clear();
      scan(allows, searcher, score);
      break;
    }
  }
  const auto to = static_cast<std::ptrdiff_t>(query * out.k);
  for (std::size_t i = 0; i < matches.size(); ++i) {
    out.ids[static_cast<std::size_t>(to) + i] = matches[i].id;
    out.scores[static_cast<std::size_t>(to) + i] = static_cast<float>(matches[i].score);
  }
  out.counts[static_cast<std::size_t>(query)] = static_cast<std::int32_t>(matches.size());
}

}  // namespace helip::mining
