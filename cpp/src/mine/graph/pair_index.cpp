#include "helip/pair_index.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/aligned.h"
#include "base/team.h"
#include "helip/error.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"
#include "mine/graph/hnswlib_file.h"
#include "mine/graph/index_file.h"
#include "mine/graph/index_locks.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using mining::Corpus;
using mining::GraphSearch;
using mining::IndexParts;
using mining::IndexRows;
using mining::LoadedRow;
using mining::Neighbour;
using mining::Scored;

constexpr std::int64_t kLeastBreadth = 64;
constexpr std::int64_t kEncodeGrain = 256;
constexpr std::int64_t kQueriesPerThread = 8;  // fewer are not worth a thread

// One thread's buffers, for whatever index it asks.
struct Searcher {
  GraphSearch search;
  mining::PairCodec::Buffers coding;
  mining::AlignedArray<std::int8_t> code;
  std::int64_t bytes = 0;
  LoadedRow image, text, other_image, other_text;
  std::vector<Scored> matches;
};

}  // namespace

struct PairIndex::State {
  State(const PairIndexOptions& options_, std::int64_t image_dimensions,
        std::int64_t text_dimensions)
      : options(options_),
        kernel(mining::select_kernel()),
        parts(std::make_unique<IndexParts>(options_, image_dimensions, text_dimensions, kernel)) {}
  State(mining::IndexFile file, const mining::Kernel& kernel_)
      : options(file.options), kernel(kernel_), parts(std::move(file.parts)) {
    parts->graph.settle(parts->rows.size());
  }
  // By the thread that writes.
  std::vector<std::uint32_t> append(const Corpus& corpus, const MatrixView& image,
                                    const MatrixView& text, const std::vector<std::int64_t>& ids,
                                    Team& team);
  void make_room(std::int64_t rows);
  void know_rows();
  std::vector<std::uint32_t> rows_of(const std::vector<std::int64_t>& ids);
  void refuse_known(const std::vector<std::int64_t>& ids);
  void remove(const std::vector<std::uint32_t>& rows);

  void find(const Corpus& queries, std::int64_t query, const Corpus& pairs, std::int64_t breadth,
            PairMatches& out, Searcher& searcher) const;

  const PairIndexOptions options;
  const mining::Kernel& kernel;
  std::unique_ptr<IndexParts> parts;
  // By the first that writes: rows of ids, rows of removed pairs, and the id after the greatest.
  std::optional<std::unordered_map<std::int64_t, std::uint32_t>> known;
  std::vector<std::uint32_t> free_rows;
  std::int64_t next_id = 0;
  mining::IndexLocks locks{[this] { parts->graph.renew_locks(); }};
};

// What is mapped is copied while others read it; what is in memory moves without a copy.
void PairIndex::State::make_room(std::int64_t rows) {
  const std::int64_t size = parts->rows.size(), capacity = parts->rows.capacity();
  if (!parts->reader && rows <= capacity) return;
  mining::ProductGraph::Room room(std::max(rows, capacity + capacity / 2));
  if (parts->reader) {
    auto own = std::make_unique<IndexParts>(options, parts->rows.image_dimensions(),
                                            parts->rows.text_dimensions(), kernel);
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

// The rows of new pairs: those of removed ones first. Where it fails, what was added is removed:
// the graph may lead through it already.
std::vector<std::uint32_t> PairIndex::State::append(const Corpus& corpus, const MatrixView& image,
                                                    const MatrixView& text,
                                                    const std::vector<std::int64_t>& ids,
                                                    Team& team) {
  const std::int64_t count = corpus.size(), size = parts->rows.size();
  const auto reused = std::min(count, static_cast<std::int64_t>(free_rows.size()));
  const std::int64_t after = size + count - reused;
  if (after > mining::kMostPairs) {
    throw Error(ErrorCode::unsupported, "the index would have " + std::to_string(after) +
                                            " pairs, but can hold " +
                                            std::to_string(mining::kMostPairs) + "; split it");
  }
  make_room(after);
  mining::ProductGraph& graph = parts->graph;
  std::vector<std::uint32_t> rows(free_rows.end() - reused, free_rows.end());
  for (std::int64_t row = size; row < after; ++row) rows.push_back(static_cast<std::uint32_t>(row));
  struct Buffers {
    IndexRows::Buffers row;
    mining::PairCodec::Buffers code;
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
  free_rows.resize(free_rows.size() - static_cast<std::size_t>(reused));
  free_rows.reserve(free_rows.size() + rows.size());
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
    for (const std::uint32_t i : mining::random_order(count, options.seed)) {
      if (!parts->rows.is_zero(rows[i])) order.push_back(rows[i]);
    }
    graph.add(order, team);
  } catch (...) {
    remove(rows);
    parts->rows.publish(after);
    throw;
  }
  parts->rows.publish(after);
  graph.settle(after);
  team.end_stage();
  return rows;
}

void PairIndex::State::know_rows() {
  if (known) return;
  std::unordered_map<std::int64_t, std::uint32_t> found;
  found.reserve(static_cast<std::size_t>(parts->rows.size()));
  for (std::int64_t row = 0; row < parts->rows.size(); ++row) {
    if (parts->graph.is_removed(row)) {
      free_rows.push_back(static_cast<std::uint32_t>(row));
      continue;
    }
    found.emplace(parts->rows.id(row), static_cast<std::uint32_t>(row));
    next_id = std::max(next_id, parts->rows.id(row) + 1);
  }
  known = std::move(found);
}

std::vector<std::uint32_t> PairIndex::State::rows_of(const std::vector<std::int64_t>& ids) {
  static_cast<void>(mining::checked_ids(ids, static_cast<std::int64_t>(ids.size()), 0));
  know_rows();
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto found = known->find(ids[i]);
    if (found == known->end()) {
      throw Error(ErrorCode::invalid_argument, "id " + std::to_string(ids[i]) + ", number " +
                                                   std::to_string(i) +
                                                   " of those given, is not in the index");
    }
    rows.push_back(found->second);
  }
  return rows;
}

void PairIndex::State::remove(const std::vector<std::uint32_t>& rows) {
  for (const std::uint32_t row : rows) {
    if (!parts->graph.is_removed(row)) parts->graph.remove(row);
  }
  free_rows.insert(free_rows.end(), rows.begin(), rows.end());
}

void PairIndex::State::refuse_known(const std::vector<std::int64_t>& ids) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (known->count(ids[i]) == 0) continue;
    throw Error(ErrorCode::invalid_argument,
                "id " + std::to_string(ids[i]) + " of row " + std::to_string(i) +
                    " is in the index already; give new pairs ids of their own");
  }
}

// `pairs`: those of the index.
void PairIndex::State::find(const Corpus& queries, std::int64_t query, const Corpus& pairs,
                            std::int64_t breadth, PairMatches& out, Searcher& searcher) const {
  const IndexRows& rows = parts->rows;
  queries.image()->load(query, searcher.image);
  queries.text()->load(query, searcher.text);
  if (searcher.image.length == 0.0 || searcher.text.length == 0.0) return;
  const mining::PairCodec& codec = parts->graph.codec();
  if (searcher.bytes < codec.bytes()) {
    searcher.code = mining::allocate_aligned<std::int8_t>(codec.bytes());
    searcher.bytes = codec.bytes();
  }
  codec.encode(queries, query, searcher.coding, searcher.code.get());
  const GraphSearch::Maxima maxima{mining::code_limit(options.image_max),
                                   mining::code_limit(options.text_max)};
  parts->graph.search(searcher.code.get(), breadth, maxima, searcher.search);
  auto& matches = searcher.matches;
  matches.clear();
  for (const Neighbour& found : searcher.search.best()) {
    const bool full = static_cast<std::int64_t>(matches.size()) == out.k;
    // Best first: none of the others scores more.
    if (full && static_cast<double>(found.similarity + mining::kCodeError) < matches.back().score) {
      break;
    }
    const mining::Evaluation evaluated = mining::evaluate(
        pairs.rules(), {pairs.image()->cosine(searcher.image, found.node, searcher.other_image),
                        pairs.text()->cosine(searcher.text, found.node, searcher.other_text)});
    if (evaluated.target != mining::Verdict::kept || evaluated.score <= 0.0) continue;
    const Scored match{evaluated.score, rows.id(found.node)};
    if (full && !ranks_before(match, matches.back())) continue;
    if (full) matches.pop_back();
    matches.insert(std::upper_bound(matches.begin(), matches.end(), match, mining::ranks_before),
                   match);
  }
  const auto to = static_cast<std::ptrdiff_t>(query * out.k);
  for (std::size_t i = 0; i < matches.size(); ++i) {
    out.ids[static_cast<std::size_t>(to) + i] = matches[i].id;
    out.scores[static_cast<std::size_t>(to) + i] = static_cast<float>(matches[i].score);
  }
  out.counts[static_cast<std::size_t>(query)] = static_cast<std::int32_t>(matches.size());
}

PairIndex::PairIndex(std::unique_ptr<State> state) : state_(std::move(state)) {}
PairIndex::PairIndex(PairIndex&&) noexcept = default;
PairIndex& PairIndex::operator=(PairIndex&&) noexcept = default;
PairIndex::~PairIndex() = default;

PairIndex::State& PairIndex::state() const {
  if (state_) return *state_;
  throw Error(ErrorCode::invalid_argument,
              "this index was moved from; use the one that it was moved to");
}

PairIndex PairIndex::build(const MatrixView& image, const MatrixView& text,
                           const PairIndexOptions& options, const std::vector<std::int64_t>& ids,
                           int threads, const ProgressCallback& progress) {
  return mining::entry_point([&] {
    mining::check_index_options(options);
    const MineOptions mine = mining::checked_matrices(image, text, options, threads);
    constexpr std::int64_t kMost = mining::kMostCodeDimensions;
    mining::check_range("the number of image dimensions", image.cols, 1, kMost);
    mining::check_range("the number of text dimensions", text.cols, 1, kMost);
    const std::vector<std::int64_t> all = mining::checked_ids(ids, image.rows, 0);
    auto state = std::make_unique<State>(options, image.cols, text.cols);
    Corpus corpus(image, text, mining::rules_of(mine), state->kernel);
    Team team(threads, progress);
    corpus.measure(team);
    state->append(corpus, image, text, all, team);
    return PairIndex(std::move(state));
  });
}

PairIndex PairIndex::build(const EmbeddingStore& store, const PairIndexOptions& options,
                           int threads, const ProgressCallback& progress) {
  return build(store.image(), store.text(), options, {}, threads, progress);
}

PairIndex PairIndex::open(const fs::path& path, const ProgressCallback& progress) {
  return mining::entry_point([&] {
    const mining::Kernel& kernel = mining::select_kernel();
    return PairIndex(std::make_unique<State>(mining::open_index(path, kernel, progress), kernel));
  });
}

void PairIndex::save(const fs::path& path, const ProgressCallback& progress) const {
  mining::entry_point([&] {
    const State& own = state();
    const auto turn = own.locks.to_save();
    mining::save_index(path, own.options, *own.parts, progress);
  });
}

PairIndex PairIndex::open_hnswlib(const fs::path& path, std::int64_t image_dimensions,
                                  const PairIndexOptions& options, int threads,
                                  const ProgressCallback& progress) {
  return mining::entry_point([&] {
    mining::HnswlibPairs pairs = mining::read_hnswlib(path, image_dimensions, progress);
    return build(pairs.image_view(), pairs.text_view(), options, pairs.ids, threads, progress);
  });
}

void PairIndex::save_hnswlib(const fs::path& path, const ProgressCallback& progress) const {
  mining::entry_point([&] {
    const State& own = state();
    const auto turn = own.locks.to_save();
    mining::save_hnswlib(path, own.options, *own.parts, progress);
  });
}

PairMatches PairIndex::query(const MatrixView& image, const MatrixView& text, std::int64_t k,
                             std::int64_t breadth, int threads,
                             const ProgressCallback& progress) const {
  return mining::entry_point([&] {
    const State& own = state();
    const MineOptions mine = mining::checked_matrices(image, text, own.options, threads);
    mining::check_range("k", k, 1, mining::kMostBreadth);
    if (breadth == 0) breadth = std::min(mining::kMostBreadth, std::max(kLeastBreadth, 2 * k));
    mining::check_range("breadth", breadth, k, mining::kMostBreadth);
    const std::int64_t count = image.rows;
    PairMatches out;
    out.k = k;
    out.ids.assign(static_cast<std::size_t>(count * k), -1);
    out.scores.assign(static_cast<std::size_t>(count * k), 0.0F);
    out.counts.assign(static_cast<std::size_t>(count), 0);
    if (count == 0) return out;
    mining::check_dimensions("image", image.cols, image_dimensions());
    mining::check_dimensions("text", text.cols, text_dimensions());
    const mining::Rules rules = mining::rules_of(mine);
    const Corpus queries(image, text, rules, own.kernel);
    for (std::int64_t i = 0; i < count; ++i) {  // so that the first bad row is named
      queries.image()->length(i);
      queries.text()->length(i);
    }

    const auto lock = own.locks.to_read();
    const IndexParts& parts = *own.parts;
    const Corpus pairs(parts.rows.image(), parts.rows.text(), rules, own.kernel);
    const std::int64_t most = std::max<std::int64_t>(1, std::min(breadth, parts.rows.size()));
    Team team(threads, progress, {"querying", "pair"});
    const auto find = [&](std::int64_t begin, std::int64_t end, int) {
      thread_local Searcher searcher;
      for (std::int64_t i = begin; i < end && !team.stopped(); ++i) {
        own.find(queries, i, pairs, most, out, searcher);
      }
      team.add_work(end - begin);
    };
    if (count <= kQueriesPerThread) {  // too short to be asked about
      find(0, count, 0);
    } else {
      team.begin_stage("query", count, count);
      team.for_blocks(count, kQueriesPerThread, find);
    }
    if (parts.reader) parts.reader->require_whole();
    queries.require_whole();
    return out;
  });
}

void PairIndex::add(const MatrixView& image, const MatrixView& text,
                    const std::vector<std::int64_t>& ids, int threads,
                    const ProgressCallback& progress) {
  mining::entry_point([&] {
    State& own = state();
    const MineOptions mine = mining::checked_matrices(image, text, own.options, threads);
    if (image.rows == 0 && ids.empty()) return;
    mining::check_dimensions("image", image.cols, image_dimensions());
    mining::check_dimensions("text", text.cols, text_dimensions());
    Team team(threads, progress);
    Corpus corpus(image, text, mining::rules_of(mine), own.kernel);
    corpus.measure(team);

    const mining::IndexLocks::Writing turn(own.locks);
    own.know_rows();
    const auto all = mining::checked_ids(ids, image.rows, ids.empty() ? own.next_id : 0);
    own.refuse_known(all);
    auto& known = *own.known;
    try {
      for (const std::int64_t id : all) known.emplace(id, 0);
      const auto rows = own.append(corpus, image, text, all, team);
      for (std::size_t i = 0; i < rows.size(); ++i) known[all[i]] = rows[i];
    } catch (...) {
      for (const std::int64_t id : all) known.erase(id);
      throw;
    }
    own.next_id = std::max(own.next_id, 1 + *std::max_element(all.begin(), all.end()));
  });
}

void PairIndex::replace(const MatrixView& image, const MatrixView& text,
                        const std::vector<std::int64_t>& ids, int threads,
                        const ProgressCallback& progress) {
  mining::entry_point([&] {
    State& own = state();
    const MineOptions mine = mining::checked_matrices(image, text, own.options, threads);
    const auto all = mining::checked_ids(ids, image.rows, 0);
    if (ids.empty()) return;
    mining::check_dimensions("image", image.cols, image_dimensions());
    mining::check_dimensions("text", text.cols, text_dimensions());
    Team team(threads, progress);
    Corpus corpus(image, text, mining::rules_of(mine), own.kernel);
    corpus.measure(team);

    const mining::IndexLocks::Writing turn(own.locks);
    const auto before = own.rows_of(all);
    own.free_rows.reserve(own.free_rows.size() + before.size());
    const auto rows = own.append(corpus, image, text, all, team);
    for (std::size_t i = 0; i < rows.size(); ++i) (*own.known)[all[i]] = rows[i];
    own.remove(before);
  });
}

void PairIndex::remove(const std::vector<std::int64_t>& ids) {
  mining::entry_point([&] {
    State& own = state();
    const mining::IndexLocks::Writing turn(own.locks);
    own.know_rows();
    const auto rows = own.rows_of(ids);
    own.make_room(own.parts->rows.size());
    own.remove(rows);
    for (const std::int64_t id : ids) own.known->erase(id);
  });
}

std::int64_t PairIndex::size() const {
  if (!state_) return 0;
  const auto lock = state_->locks.to_read();
  return state_->parts->rows.size() - state_->parts->graph.removed();
}
std::int64_t PairIndex::image_dimensions() const noexcept {
  return state_ ? state_->parts->rows.image_dimensions() : 0;
}
std::int64_t PairIndex::text_dimensions() const noexcept {
  return state_ ? state_->parts->rows.text_dimensions() : 0;
}
std::int64_t PairIndex::bytes() const {
  if (!state_) return 0;
  const auto lock = state_->locks.to_read();
  const IndexParts& parts = *state_->parts;
  return parts.rows.size() * (parts.rows.bytes_per_row() + parts.graph.node_bytes());
}
PairIndexOptions PairIndex::options() const noexcept {
  return state_ ? state_->options : PairIndexOptions{};
}

}  // namespace helip
