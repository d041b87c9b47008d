// Exact scores: the float64 definition that every engine ends with.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "helip/hard_pairs.h"
#include "mine/corpus/rows.h"
#include "mine/corpus/rules.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

// What mining reads: the rules and the rows of the modalities that they use. Immutable once
// measured; safe to share between threads.
class Corpus {
 public:
  Corpus(const MatrixView& image, const MatrixView& text, const Rules& rules, const Kernel& kernel);

  // Measures the rows of both modalities, in stage "check".
  void measure(Team& team);

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

struct Scored {
  double score;
  std::int64_t id;
};

// Falling score, rising id: the order of a pool.
inline bool ranks_before(const Scored& a, const Scored& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// Whether a pair counts as hard, or the first filter that keeps it out.
enum class Verdict : std::uint8_t { kept, image_duplicate, text_duplicate, margin, collapsed };
inline constexpr int kVerdicts = 5;

struct Similarities {
  double image, text;  // 1 for a modality that is not used
};

// A pair of a target and a candidate, seen from both.
struct Judged {
  double score;  // product of the similarities, before any filter; at most 0: no hard pair
  Verdict target;
  Verdict candidate;  // the verdict when the roles are exchanged
};

// What the rules say of a pair by its similarities alone, so without the margin.
Judged judge(const Rules& rules, const Similarities& found) noexcept;

// Scores pairs; quicker where one row stays the same. Not thread-safe; one for each thread.
class Scorer {
 public:
  explicit Scorer(const Corpus& corpus);

  Similarities similarities(std::int64_t target, std::int64_t candidate);
  // The score, the same bits when the roles are exchanged. `candidate` differs from `target`.
  Judged judge(std::int64_t target, std::int64_t candidate);

  // Asks for the rows of a candidate that judge() will get next: pools are scattered in memory.
  void prefetch(std::int64_t candidate) const noexcept {
    if (const Rows* image = corpus_.image()) image->prefetch(candidate);
    if (const Rows* text = corpus_.text()) text->prefetch(candidate);
  }

  const Corpus& corpus() const noexcept { return corpus_; }

 private:
  // Cosine of an image and a text, of a shared space.
  double cross(std::int64_t image_row, std::int64_t text_row);

  const Corpus& corpus_;
  std::int64_t loaded_ = -1;
  std::int64_t last_candidate_ = -1;
  LoadedRow image_, text_;
  Scratch other_image_, other_text_;
  std::vector<double> wide_image_, wide_text_;
};

}  // namespace helip::mining
