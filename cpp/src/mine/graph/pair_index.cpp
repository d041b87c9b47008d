#include "helip/pair_index.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <unordered_set>
#include <utility>

#include "base/aligned.h"
#include "base/team.h"
#include "base/thread_pool.h"
#include "helip/error.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"
#include "mine/graph/graph.h"
#include "mine/graph/hnswlib_file.h"
#include "mine/graph/index_file.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using mining::Corpus;
using mining::Graph;
using mining::GraphSearch;
using mining::LoadedRow;
using mining::Neighbour;
using mining::Scored;

constexpr std::int64_t kLeastBreadth = 64;
constexpr std::int64_t kQueriesPerThread = 8;  // fewer are not worth a thread

// One thread's buffers.
struct Searcher {
  GraphSearch search;
  mining::PairCodec::Buffers coding;
  mining::AlignedArray<std::int8_t> code;
  LoadedRow image, text, other_image, other_text;
  std::vector<Scored> matches;
};

}  // namespace

struct PairIndex::State {
  State(const PairIndexOptions& options_, std::int64_t image_dimensions,
        std::int64_t text_dimensions)
      : options(options_),
        kernel(mining::select_kernel()),
        rows(image_dimensions, text_dimensions, kernel),
        graph({options.degree, options.breadth}) {}
  State(mining::HnswlibFile file, const mining::Kernel& kernel_)
      : options(file.options),
        kernel(kernel_),
        rows(std::move(file.rows)),
        graph(std::move(file.graph)) {}
  State(mining::IndexFile file, const mining::Kernel& kernel_)
      : options(file.options),
        kernel(kernel_),
        reader(std::move(file.reader)),
        rows(std::move(file.rows)),
        graph(std::move(file.graph)) {}
  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void append(const Corpus& corpus, const MatrixView& image, const MatrixView& text,
              const std::vector<std::int64_t>& ids, Team& team);
  void refuse_known(const std::vector<std::int64_t>& ids);
  std::int64_t next_id() const;
  void find(const Corpus& queries, std::int64_t query, const Corpus& pairs, std::int64_t breadth,
            PairMatches& out, Searcher& searcher) const;
  std::unique_ptr<Searcher> take_searcher() const;
  void give_back(std::unique_ptr<Searcher> searcher) const;

  // What threads wait for each other by. A forked child has its own: who holds those of its parent
  // is not in it.
  struct Locks {
    const std::uint64_t forks = count_forks();
    // Shared by those who read, exclusive to add(). The gate sees to it that new readers do not
    // overtake an add() that waits: shared_mutex makes no promise.
    std::mutex gate;
    std::shared_mutex mutex;
    std::mutex idle_mutex;
    std::vector<std::unique_ptr<Searcher>> idle;
    Locks* parent = nullptr;
  };
  struct Growing {
    explicit Growing(std::atomic<bool>& now_) : now(now_) { now = true; }
    ~Growing() { now = false; }
    Growing(const Growing&) = delete;
    Growing& operator=(const Growing&) = delete;
    std::atomic<bool>& now;
  };
  // Throws Error(unsupported) where the fork came amid an add().
  Locks& own_locks() const;
  std::shared_lock<std::shared_mutex> lock_to_read() const;

  const PairIndexOptions options;
  const mining::Kernel& kernel;
  std::shared_ptr<const ColumnReader> reader;  // of what is mapped
  mining::IndexRows rows;
  Graph graph;
  std::optional<std::unordered_set<std::int64_t>> known;  // ids, made by the first add()
  std::atomic<bool> growing = false;                      // add() is changing what is above
  mutable std::atomic<Locks*> locks{new Locks};
};

PairIndex::State::Locks& PairIndex::State::own_locks() const {
  Locks* current = locks.load();
  if (current->forks == count_forks()) return *current;
  if (growing) {
    throw Error(ErrorCode::unsupported,
                "the process was forked while another thread added pairs to this index, so it is "
                "half changed here; open or build it again in this process");
  }
  auto own = std::make_unique<Locks>();
  own->parent = current;
  if (locks.compare_exchange_strong(current, own.get())) return *own.release();
  return *current;  // another thread was first
}

PairIndex::State::~State() {
  for (Locks* each = locks; each != nullptr;) {
    Locks* const parent = each->parent;
    // Those of a process before this one may be half changed; they are left alone.
    if (each->forks == count_forks()) delete each;
    each = parent;
  }
}

std::shared_lock<std::shared_mutex> PairIndex::State::lock_to_read() const {
  Locks& own = own_locks();
  const std::lock_guard turn(own.gate);
  return std::shared_lock(own.mutex);
}

// Rows, then links; without either when one fails.
void PairIndex::State::append(const Corpus& corpus, const MatrixView& image, const MatrixView& text,
                              const std::vector<std::int64_t>& ids, Team& team) {
  const std::int64_t before = rows.size();
  Graph::Before links(graph);
  if (before + corpus.size() > mining::kMostPairs) {
    throw Error(ErrorCode::unsupported,
                "the index would have " + std::to_string(before + corpus.size()) +
                    " pairs, but can hold " + std::to_string(mining::kMostPairs) + "; split it");
  }
  team.begin_stage("build", corpus.size(), corpus.size());
  try {
    rows.append(corpus, image, text, ids, team);
    std::vector<std::uint32_t> order;
    for (const std::uint32_t row : mining::random_order(corpus.size(), options.seed)) {
      const std::int64_t node = before + row;
      if (!rows.is_zero(node)) order.push_back(static_cast<std::uint32_t>(node));
    }
    graph.add(rows.codes(), order, rows.size(), team, {}, &links);
    corpus.require_whole();
    if (reader) reader->require_whole();  // its rows were copied
    team.end_stage();
  } catch (...) {
    rows.truncate(before);
    graph.undo(links);
    throw;
  }
}

void PairIndex::State::refuse_known(const std::vector<std::int64_t>& ids) {
  if (!known) {
    std::unordered_set<std::int64_t> found;
    for (std::int64_t i = 0; i < rows.size(); ++i) found.insert(rows.id(i));
    known = std::move(found);
  }
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (known->count(ids[i]) == 0) continue;
    throw Error(ErrorCode::invalid_argument,
                "id " + std::to_string(ids[i]) + " of row " + std::to_string(i) +
                    " is in the index already; give new pairs ids of their own");
  }
}

std::int64_t PairIndex::State::next_id() const {
  std::int64_t next = 0;
  for (std::int64_t i = 0; i < rows.size(); ++i) next = std::max(next, rows.id(i) + 1);
  return next;
}

std::unique_ptr<Searcher> PairIndex::State::take_searcher() const {
  Locks& own = own_locks();
  const std::lock_guard lock(own.idle_mutex);
  if (own.idle.empty()) {
    auto made = std::make_unique<Searcher>();
    made->code = mining::allocate_aligned<std::int8_t>(rows.codec().bytes());
    return made;
  }
  auto taken = std::move(own.idle.back());
  own.idle.pop_back();
  return taken;
}

void PairIndex::State::give_back(std::unique_ptr<Searcher> searcher) const {
  Locks& own = own_locks();
  const std::lock_guard lock(own.idle_mutex);
  own.idle.push_back(std::move(searcher));
}

// `pairs`: those of the index.
void PairIndex::State::find(const Corpus& queries, std::int64_t query, const Corpus& pairs,
                            std::int64_t breadth, PairMatches& out, Searcher& searcher) const {
  queries.image()->load(query, searcher.image);
  queries.text()->load(query, searcher.text);
  if (searcher.image.length == 0.0 || searcher.text.length == 0.0) return;
  rows.codec().encode(queries, query, searcher.coding, searcher.code.get());
  const GraphSearch::Maxima maxima{mining::code_limit(options.image_max),
                                   mining::code_limit(options.text_max)};
  graph.search(rows.codes(), searcher.code.get(), breadth, maxima, searcher.search);
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
    const auto lock = own.lock_to_read();
    mining::save_index(path, own.options, own.rows, own.graph, own.reader.get(), progress);
  });
}

PairIndex PairIndex::open_hnswlib(const fs::path& path, std::int64_t image_dimensions,
                                  const PairIndexOptions& options, int threads,
                                  const ProgressCallback& progress) {
  return mining::entry_point([&] {
    const mining::Kernel& kernel = mining::select_kernel();
    return PairIndex(std::make_unique<State>(
        mining::open_hnswlib(path, image_dimensions, options, threads, kernel, progress), kernel));
  });
}

void PairIndex::save_hnswlib(const fs::path& path, const ProgressCallback& progress) const {
  mining::entry_point([&] {
    const State& own = state();
    const auto lock = own.lock_to_read();
    mining::save_hnswlib(path, own.options, own.rows, own.graph, own.reader.get(), progress);
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
    mining::check_dimensions("image", image.cols, own.rows.image_dimensions());
    mining::check_dimensions("text", text.cols, own.rows.text_dimensions());
    const mining::Rules rules = mining::rules_of(mine);
    const Corpus queries(image, text, rules, own.kernel);
    for (std::int64_t i = 0; i < count; ++i) {  // so that the first bad row is named
      queries.image()->length(i);
      queries.text()->length(i);
    }

    const auto lock = own.lock_to_read();
    const Corpus pairs(own.rows.image(), own.rows.text(), rules, own.kernel);
    const std::int64_t most = std::max<std::int64_t>(1, std::min(breadth, own.rows.size()));
    Team team(threads, progress, {"querying", "pair"});
    const auto find = [&](std::int64_t begin, std::int64_t end, int) {
      auto searcher = own.take_searcher();
      for (std::int64_t i = begin; i < end && !team.stopped(); ++i) {
        own.find(queries, i, pairs, most, out, *searcher);
      }
      own.give_back(std::move(searcher));
      team.add_work(end - begin);
    };
    if (count <= kQueriesPerThread) {  // too short to be asked about
      find(0, count, 0);
    } else {
      team.begin_stage("query", count, count);
      team.for_blocks(count, kQueriesPerThread, find);
    }
    if (own.reader) own.reader->require_whole();
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
    mining::check_dimensions("image", image.cols, own.rows.image_dimensions());
    mining::check_dimensions("text", text.cols, own.rows.text_dimensions());
    Team team(threads, progress);
    Corpus corpus(image, text, mining::rules_of(mine), own.kernel);
    corpus.measure(team);

    State::Locks& locks = own.own_locks();
    const std::lock_guard turn(locks.gate);
    const std::unique_lock lock(locks.mutex);
    const State::Growing growing(own.growing);
    const auto all = mining::checked_ids(ids, image.rows, ids.empty() ? own.next_id() : 0);
    own.refuse_known(all);
    try {
      own.known->insert(all.begin(), all.end());
      own.append(corpus, image, text, all, team);
    } catch (...) {
      for (const std::int64_t id : all) own.known->erase(id);
      throw;
    }
    own.reader.reset();  // everything was copied
  });
}

std::int64_t PairIndex::size() const {
  if (!state_) return 0;
  const auto lock = state_->lock_to_read();
  return state_->rows.size();
}
std::int64_t PairIndex::image_dimensions() const noexcept {
  return state_ ? state_->rows.image_dimensions() : 0;
}
std::int64_t PairIndex::text_dimensions() const noexcept {
  return state_ ? state_->rows.text_dimensions() : 0;
}
std::int64_t PairIndex::bytes() const {
  if (!state_) return 0;
  const auto lock = state_->lock_to_read();
  return state_->rows.size() *
         (state_->rows.bytes_per_row() +
          Graph::bytes_per_node({state_->options.degree, state_->options.breadth}));
}
PairIndexOptions PairIndex::options() const noexcept {
  return state_ ? state_->options : PairIndexOptions{};
}

}  // namespace helip
