// Exact scores: the float64 definition that every engine ends with.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "helip/hard_pairs.h"
#include "kernel.h"
#include "rows.h"
#include "rules.h"

namespace helip::mining {

// What mining reads: the rules and the rows of the modalities that they use. Immutable once
// measured; safe to share between threads.
class Corpus {
 public:
  Corpus(const MatrixView& image, const MatrixView& text, const MineOptions& options,
         const Kernel& kernel);

  // Measures the rows of both modalities, in stage "check".
  void measure(Team& team);

  std::int64_t size() const noexcept { return size_; }
  const Rules& rules() const noexcept { return rules_; }
  const Kernel& kernel() const noexcept { return kernel_; }
  const Rows* image() const noexcept { return image_ ? &*image_ : nullptr; }  // nullptr: not used
  const Rows* text() const noexcept { return text_ ? &*text_ : nullptr; }
  std::int64_t image_dimensions() const noexcept { return image_ ? image_->dimensions() : 0; }
  std::int64_t text_dimensions() const noexcept { return text_ ? text_->dimensions() : 0; }
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

// Sorts `pool` and writes its best band.k to row `row` of `band`, which holds padding there.
void write_pool(std::vector<Scored>& pool, HardPairBand& band, std::int64_t row);

// Scores candidates of one target at a time. Not thread-safe; one for each thread.
class Scorer {
 public:
  explicit Scorer(const Corpus& corpus);

  void set_target(std::int64_t target);
  // The score when it counts as a hard pair, else nothing. `candidate` differs from the target.
  // Adds the pair to `counts` when given.
  std::optional<double> score(std::int64_t candidate, DropCounts* counts = nullptr);

  // Asks for the rows of a candidate that score() will get next: pools are scattered in memory.
  void prefetch(std::int64_t candidate) const noexcept {
    if (const Rows* image = corpus_.image()) image->prefetch(candidate);
    if (const Rows* text = corpus_.text()) text->prefetch(candidate);
  }

  const Corpus& corpus() const noexcept { return corpus_; }

 private:
  const Corpus& corpus_;
  Scratch image_scratch_;
  Scratch text_scratch_;
  std::vector<double> image_;
  std::vector<double> text_;
  double image_length_ = 0;
  double text_length_ = 0;
  std::int64_t target_ = -1;
};

}  // namespace helip::mining
