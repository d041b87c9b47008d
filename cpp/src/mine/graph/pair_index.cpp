#include "helip/pair_index.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "base/refuse.h"
#include "base/team.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"
#include "mine/graph/hnswlib_file.h"
#include "mine/graph/index_file.h"
#include "mine/graph/index_state.h"

namespace helip {
namespace {

namespace fs = std::filesystem;
using mining::Corpus;
using mining::IndexParts;

constexpr std::int64_t kQueriesPerThread = 8;  // fewer are not worth a thread

}  // namespace

struct PairIndex::State : mining::IndexState {
  using IndexState::IndexState;
};

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
                             std::int64_t breadth, int threads, const ProgressCallback& progress,
                             const PairFilter& allows) const {
  return mining::entry_point([&] {
    const State& own = state();
    const MineOptions mine = mining::checked_matrices(image, text, own.options, threads);
    mining::check_range("k", k, 1, mining::kMostBreadth);
    if (breadth == 0) breadth = std::min(mining::kMostBreadth, mining::usual_breadth(k));
    if (breadth != kEveryPair) mining::check_range("breadth", breadth, k, mining::kMostBreadth);
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

    Team team(threads, progress, {"querying", "pair"});
    // Who adds waits for a block at the most.
    const auto find = [&](std::int64_t begin, std::int64_t end, int) {
      const mining::OwnSearcher searcher;
      const auto lock = own.locks.to_read();
      const IndexParts& parts = *own.parts;
      const Corpus pairs(parts.rows.image(), parts.rows.text(), rules, own.kernel);
      const std::int64_t most =
          breadth == kEveryPair ? kEveryPair
                                : std::max<std::int64_t>(1, std::min(breadth, parts.rows.size()));
      for (std::int64_t i = begin; i < end && !team.stopped(); ++i) {
        own.find(queries, i, pairs, most, allows, out, *searcher);
      }
      if (parts.reader) parts.reader->require_whole();
      team.add_work(end - begin);
    };
    if (count <= kQueriesPerThread && !allows) {  // too short to be asked about
      find(0, count, 0);
    } else {
      team.begin_stage("query", count, count);
      team.for_blocks(count, kQueriesPerThread, find);
    }
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
    std::vector<std::int64_t> all;
    const auto forget = [&] {
      const auto lock = own.locks.to_know();
      for (const std::int64_t id : all) own.known->erase(id);
    };
    {
      const auto lock = own.locks.to_know();
      own.know_rows();
      auto checked = mining::checked_ids(ids, image.rows, ids.empty() ? own.next_id : 0);
      own.refuse_known(checked);
      all = std::move(checked);
    }
    try {
      {
        const auto lock = own.locks.to_know();
        for (const std::int64_t id : all) own.known->emplace(id, mining::kNoRow);
      }
      own.place(all, own.append(corpus, image, text, all, team));
    } catch (...) {
      forget();
      throw;
    }
  });
}

void PairIndex::replace(const MatrixView& image, const MatrixView& text,
                        const std::vector<std::int64_t>& ids, int threads,
                        const ProgressCallback& progress) {
  mining::entry_point([&] {
    State& own = state();
    const MineOptions mine = mining::checked_matrices(image, text, own.options, threads);
    if (ids.empty() && image.rows > 0) {
      refuse("no ids were given for " + std::to_string(image.rows) +
             " pairs; say which of the index they replace");
    }
    const auto all = mining::checked_ids(ids, image.rows, 0);
    if (ids.empty()) return;
    mining::check_dimensions("image", image.cols, own.image_dimensions);
    mining::check_dimensions("text", text.cols, own.text_dimensions);
    Team team(threads, progress);
    Corpus corpus(image, text, mining::rules_of(mine), own.kernel);
    corpus.measure(team);

    const mining::IndexLocks::Writing turn(own.locks);
    const auto before = own.known_rows_of(all);
    own.free_rows.reserve(own.free_rows.size() + before.size());
    own.place(all, own.append(corpus, image, text, all, team));
    own.remove(before);
  });
}

void PairIndex::remove(const std::vector<std::int64_t>& ids) {
  mining::entry_point([&] {
    State& own = state();
    const mining::IndexLocks::Writing turn(own.locks);
    const auto rows = own.known_rows_of(ids);
    own.make_room(own.parts->rows.size());
    own.free_rows.reserve(own.free_rows.size() + rows.size());
    own.remove(rows);
    const auto lock = own.locks.to_know();
    for (const std::int64_t id : ids) own.known->erase(id);
  });
}

PairMatches PairIndex::near(const std::vector<std::int64_t>& ids, std::int64_t k,
                            std::int64_t breadth, int threads, const ProgressCallback& progress,
                            const PairFilter& allows) const {
  return mining::entry_point([&] {
    State& own = state();
    mining::check_range("k", k, 1, mining::kMostBreadth - 1);
    if (breadth != 0 && breadth != kEveryPair) {
      mining::check_range("breadth", breadth, k, mining::kMostBreadth);
    }
    const auto count = static_cast<std::int64_t>(ids.size());
    std::vector<std::uint16_t> image(static_cast<std::size_t>(count * own.image_dimensions));
    std::vector<std::uint16_t> text(static_cast<std::size_t>(count * own.text_dimensions));
    for (bool same = false; !same;) {
      const std::vector<std::uint32_t> of_ids = own.known_rows_of(ids);
      const auto lock = own.locks.to_read();
      const IndexParts& parts = *own.parts;
      const MatrixView images = parts.rows.image(), texts = parts.rows.text();
      same = true;  // unless a row was taken from its id since
      for (std::int64_t i = 0; i < count && same; ++i) {
        const std::uint32_t row = of_ids[static_cast<std::size_t>(i)];
        same =
            parts.rows.id(row) == ids[static_cast<std::size_t>(i)] && !parts.graph.is_removed(row);
        std::memcpy(&image[static_cast<std::size_t>(i * images.cols)], images.row(row),
                    static_cast<std::size_t>(2 * images.cols));
        std::memcpy(&text[static_cast<std::size_t>(i * texts.cols)], texts.row(row),
                    static_cast<std::size_t>(2 * texts.cols));
      }
    }
    const auto view = [count](const std::vector<std::uint16_t>& rows, std::int64_t dimensions) {
      return MatrixView{rows.data(), count, dimensions, DType::float16, 2 * dimensions, nullptr};
    };
    // One more, for the pair itself is found where limits of 1 leave it in.
    const PairMatches found =
        query(view(image, own.image_dimensions), view(text, own.text_dimensions), k + 1,
              breadth > 0 ? std::max(breadth, k + 1) : breadth, threads, progress, allows);
    PairMatches out{k, {}, {}, {}};
    for (std::int64_t i = 0; i < count; ++i) {
      const auto end = static_cast<std::size_t>((i + 1) * k);
      for (auto at = static_cast<std::size_t>(i * (k + 1)), last = at + static_cast<std::size_t>(k);
           at <= last && out.ids.size() < end; ++at) {
        if (found.ids[at] == ids[static_cast<std::size_t>(i)]) continue;
        out.ids.push_back(found.ids[at]);
        out.scores.push_back(found.scores[at]);
      }
      // Where it was there twice, while it was replaced.
      out.ids.resize(end, -1);
      out.scores.resize(end, 0.0F);
      out.counts.push_back(static_cast<std::int32_t>(std::count_if(
          out.ids.end() - k, out.ids.end(), [](std::int64_t id) { return id >= 0; })));
    }
    return out;
  });
}

std::int64_t PairIndex::size() const {
  if (!state_) return 0;
  const auto lock = state_->locks.to_read();
  return state_->parts->rows.size() - state_->parts->graph.removed();
}
std::vector<std::int64_t> PairIndex::ids() const {
  return mining::entry_point([&] {
    std::vector<std::int64_t> ids;
    if (!state_) return ids;
    const auto lock = state_->locks.to_read();
    const IndexParts& parts = *state_->parts;
    for (std::int64_t row = 0; row < parts.rows.size(); ++row) {
      if (!parts.graph.is_removed(row)) ids.push_back(parts.rows.id(row));
    }
    if (parts.reader) parts.reader->require_whole();
    return ids;
  });
}
std::int64_t PairIndex::image_dimensions() const noexcept {
  return state_ ? state_->image_dimensions : 0;
}
std::int64_t PairIndex::text_dimensions() const noexcept {
  return state_ ? state_->text_dimensions : 0;
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
