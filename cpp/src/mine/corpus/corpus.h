// The rows that are mined, and the rules that say which pairs of them are hard.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/team.h"
#include "helip/matrix.h"
#include "helip/mine_options.h"
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
enum class Verdict : std::uint8_t { kept, image_duplicate, text_duplicate, margin, collapsed };
inline constexpr int kVerdicts = 5;

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
class Corpus {
 public:
  Corpus(const MatrixView& image, const MatrixView& text, const Rules& rules, const Kernel& kernel);

  // Measures the rows of both modalities, but for those that are known, in stage "check".
  void measure(Team& team, RowLengths known = {});

  // Throws corrupt where a file of the rows became shorter while they were read.
  void require_whole() const;

  std::int64_t size() const noexcept { return size_; }
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
  std::optional<Rows> image_;
  std::optional<Rows> text_;
};

// `count` of the rows 0 .. rows - 1, each subset equally likely, in ascending order. `stream`
// tells apart the draws of one seed. Time in proportion to `rows` (selection sampling: Knuth, The
// Art of Computer Programming, volume 2, 3.4.2, algorithm S).
std::vector<std::uint32_t> draw_rows(std::int64_t rows, std::int64_t count, std::uint64_t seed,
                                     std::uint64_t stream);

}  // namespace helip::mining
