// The rows that are mined, and the rules that say which pairs of them are hard.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/team.h"
#include "helip/matrix.h"
#include "helip/mine_options.h"
#include "helip/negatives_input.h"
#include "mine/corpus/rows.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

struct Rules {
  bool use_image = true;
  bool use_text = true;
  bool signed_products = false;
  double image_max = 1.0;  // 1 drops nothing: cosines are limited to [-1, 1]
  double text_max = 1.0;
  double min_score = 0.0;
  bool use_margin = false;
  double margin = 0.0;
};

Rules rules_of(const MineOptions& options) noexcept;

// Whether a pair counts as hard, or the first filter that keeps it out.
enum class Verdict : std::uint8_t {
  kept,
  image_duplicate,
  text_duplicate,
  margin,
  collapsed,
  positive,           // of queries: a positive of the query
  positive_duplicate  // of queries: a near duplicate of one
};
inline constexpr int kVerdicts = 7;

struct Similarities {
  double image, text;  // 1 for a modality that is not used
};

// A pair of a target and a candidate, seen from both.
struct Evaluation {
  double score;  // product of the similarities, before any filter; at most 0: no hard pair
  Verdict target;
  Verdict candidate;  // the verdict when the roles are exchanged
};

// What the rules say of a pair by its similarities alone, so without the margin.
Evaluation evaluate(const Rules& rules, const Similarities& found) noexcept;

struct Scored {
  double score;
  std::int64_t id;
};

// Falling score, rising id: the order of a pool.
inline bool ranks_before(const Scored& a, const Scored& b) noexcept {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// Puts one where it belongs among the k best.
inline void insert_ranked(std::vector<Scored>& best, const Scored& next, std::int64_t k) {
  const bool full = static_cast<std::int64_t>(best.size()) == k;
  if (full && !ranks_before(next, best.back())) return;
  if (full) best.pop_back();
  best.insert(std::upper_bound(best.begin(), best.end(), next, ranks_before), next);
}

// Of the rows of each modality, see Rows::measure().
struct RowLengths {
  std::vector<double> image, text;
};

// What mining reads: the rules and the rows of the modalities that they use. Immutable once
// measured; safe to share between threads.
//
// With queries, rows 0 .. queries() - 1 are those, which are targets alone, and what follows are
// the rows that are candidates alone. Without, each row is both.
class Corpus {
 public:
  // `queries`: validated, nullptr for none.
  Corpus(const MatrixView& image, const MatrixView& text, const Rules& rules, const Kernel& kernel,
         const NegativesInput* queries = nullptr);

  // Measures the rows of both modalities, but for those that are known, in stage "check".
  void measure(Team& team, RowLengths known = {});

  // Throws corrupt where a file of the rows became shorter while they were read.
  void require_whole() const;

  std::int64_t size() const noexcept { return size_; }
  std::int64_t queries() const noexcept { return queries_; }
  std::int64_t targets() const noexcept { return queries_ > 0 ? queries_ : size_; }
  std::int64_t candidate_rows() const noexcept { return size_ - queries_; }
  // Rows that a target is compared with.
  std::int64_t candidates() const noexcept { return candidate_rows() - (queries_ > 0 ? 0 : 1); }
  bool is_candidate(std::int64_t row) const noexcept { return row >= queries_; }
  bool has_positives() const noexcept { return !positives_.empty(); }
  // Of a query, ascending rows of this corpus.
  std::span<const std::uint32_t> positives_of(std::int64_t query) const noexcept {
    if (positive_begins_.empty()) return {};
    const std::size_t begin = positive_begins_[static_cast<std::size_t>(query)];
    return std::span(positives_)
        .subspan(begin, positive_begins_[static_cast<std::size_t>(query) + 1] - begin);
  }
  // A candidate of this query that scores more is too close, see NegativesInput::relative_margin.
  // Known once measured.
  double most(std::int64_t query) const noexcept {
    return most_.empty() ? std::numeric_limits<double>::infinity()
                         : most_[static_cast<std::size_t>(query)];
  }
  const Rules& rules() const noexcept { return rules_; }
  const Kernel& kernel() const noexcept { return kernel_; }
  const Rows* image() const noexcept { return image_ ? &*image_ : nullptr; }  // nullptr: not used
  const Rows* text() const noexcept { return text_ ? &*text_ : nullptr; }
  std::int64_t image_dimensions() const noexcept { return image_ ? image_->dimensions() : 0; }
  std::int64_t text_dimensions() const noexcept { return text_ ? text_->dimensions() : 0; }
  std::int64_t dimensions() const noexcept { return image_dimensions() + text_dimensions(); }
  // Whether a modality that is used has no direction for this row: it scores 0 with every other.
  bool is_zero(std::int64_t row) const;

 private:
  const Rules rules_;
  const Kernel& kernel_;
  const std::int64_t size_;
  const std::int64_t queries_;
  std::optional<Rows> image_;
  std::optional<Rows> text_;
  std::vector<std::size_t> positive_begins_;  // [queries + 1], empty: there are none
  std::vector<std::uint32_t> positives_;
  const std::optional<double> relative_margin_;
  std::vector<double> most_;  // [queries], empty: no margin
};

// `count` of the rows 0 .. rows - 1, each subset equally likely, in ascending order. `stream`
// tells apart the draws of one seed. Time in proportion to `rows` (selection sampling: Knuth, The
// Art of Computer Programming, volume 2, 3.4.2, algorithm S).
std::vector<std::uint32_t> draw_rows(std::int64_t rows, std::int64_t count, std::uint64_t seed,
                                     std::uint64_t stream);

}  // namespace helip::mining
