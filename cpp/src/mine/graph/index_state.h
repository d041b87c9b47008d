// An index of pairs that changes while it is asked: rows, graph and ids, and what threads wait for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/aligned.h"
#include "base/team.h"
#include "helip/matrix.h"
#include "helip/pair_index.h"
#include "mine/corpus/corpus.h"
#include "mine/graph/index_file.h"
#include "mine/graph/index_locks.h"

namespace helip::mining {

inline constexpr std::uint32_t kNoRow = ~0U;

// One thread's buffers, for whatever index it asks.
struct Searcher {
  GraphSearch search;
  PairCodec::Compared compared;
  PairCodec::Buffers coding;
  AlignedArray<std::int8_t> code;
  std::int64_t bytes = 0;
  LoadedRow image, text, other_image, other_text;
  std::vector<Scored> matches;
};

// That of this thread; another where a filter asks an index in turn.
class OwnSearcher {
 public:
  OwnSearcher() : searcher_(kept() ? std::move(kept()) : std::make_unique<Searcher>()) {}
  ~OwnSearcher() { kept() = std::move(searcher_); }
  OwnSearcher(const OwnSearcher&) = delete;
  OwnSearcher& operator=(const OwnSearcher&) = delete;
  Searcher& operator*() const noexcept { return *searcher_; }

 private:
  static std::unique_ptr<Searcher>& kept() noexcept {
    thread_local std::unique_ptr<Searcher> searcher;
    return searcher;
  }

  std::unique_ptr<Searcher> searcher_;
};

// What is written of it is written by the one thread that has IndexLocks::Writing.
struct IndexState {
  IndexState(const PairIndexOptions& options_, std::int64_t image, std::int64_t text)
      : options(options_),
        image_dimensions(image),
        text_dimensions(text),
        kernel(select_kernel()),
        parts(std::make_unique<IndexParts>(options_, image, text, kernel)) {}
  IndexState(IndexFile file, const Kernel& kernel_)
      : options(file.options),
        image_dimensions(file.parts->rows.image_dimensions()),
        text_dimensions(file.parts->rows.text_dimensions()),
        kernel(kernel_),
        parts(std::move(file.parts)) {
    parts->graph.settle(parts->rows.size());
  }
  // Adds pairs whose ids are new, and returns their rows: those of removed pairs first. All or
  // none.
  std::vector<std::uint32_t> append(const Corpus& corpus, const MatrixView& image,
                                    const MatrixView& text, const std::vector<std::int64_t>& ids,
                                    Team& team);
  // For so many rows that can be written: what is mapped is copied.
  void make_room(std::int64_t rows);
  void remove(const std::vector<std::uint32_t>& rows);

  // Under IndexLocks::to_know(); rows_of() and refuse_known() throw invalid_argument.
  void know_rows();
  std::vector<std::uint32_t> rows_of(const std::vector<std::int64_t>& ids);
  void refuse_known(const std::vector<std::int64_t>& ids);
  // These take the lock.
  std::vector<std::uint32_t> known_rows_of(const std::vector<std::int64_t>& ids) {
    const auto lock = locks.to_know();
    return rows_of(ids);
  }
  void place(const std::vector<std::int64_t>& ids, const std::vector<std::uint32_t>& rows);

  // Under IndexLocks::to_read(): the matches of one query; `pairs`: those of the index. `breadth`
  // may be PairIndex::kEveryPair.
  void find(const Corpus& queries, std::int64_t query, const Corpus& pairs, std::int64_t breadth,
            const PairFilter& allows, PairMatches& out, Searcher& searcher) const;
  // Scores every pair that is allowed.
  void scan(const PairFilter& allows, Searcher& searcher,
            const std::function<bool(const Neighbour&)>& score) const;

  const PairIndexOptions options;
  const std::int64_t image_dimensions, text_dimensions;
  const Kernel& kernel;
  std::unique_ptr<IndexParts> parts;
  // By the first that asks, see IndexLocks::to_know(): rows of ids, kNoRow while they are added.
  std::optional<std::unordered_map<std::int64_t, std::uint32_t>> known;
  std::int64_t next_id = 0;              // after the greatest
  std::vector<std::uint32_t> free_rows;  // of removed pairs, for the next ones
  IndexLocks locks{[this] { parts->graph.renew_locks(); }};
};

}  // namespace helip::mining
