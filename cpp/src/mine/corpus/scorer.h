// Exact scores: the float64 definition that every method ends with, and float32 bounds of them.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "mine/corpus/corpus.h"
#include "mine/corpus/rows.h"

namespace helip::mining {

// Scores pairs; quicker where one row stays the same. Not thread-safe; one for each thread.
class Scorer {
 public:
  static constexpr std::size_t kRecentRows = 256;  // for a block of pairs, of some 100 rows
  // `recent`: rows of each channel that are kept converted, where the same few come again and
  // again, as in a block of pairs.
  explicit Scorer(const Corpus& corpus, std::size_t recent = 1);
  Scorer(const Scorer&) = delete;
  Scorer& operator=(const Scorer&) = delete;

  ChannelSimilarities similarities(std::int64_t target, std::int64_t candidate);
  // The score, the same bits when the roles are exchanged. `candidate` differs from `target`.
  Evaluation evaluate(std::int64_t target, std::int64_t candidate);
  // That of a query and a candidate that were evaluated, with what its positives say: a cosine for
  // each of them, so ask it of what is close alone.
  Verdict verdict_of(std::int64_t query, std::int64_t candidate, const Evaluation& evaluated);

  // Asks for the rows of a candidate that evaluate() will get next: pools are scattered in memory.
  void prefetch(std::int64_t candidate) const noexcept {
    for (const Corpus::Channel& channel : corpus_.channels()) channel.rows.prefetch(candidate);
  }

  const Corpus& corpus() const noexcept { return corpus_; }

 private:
  // Rows of one channel that were read last: to convert a row of float16 or int8 takes as long as
  // to multiply it.
  class RecentRows {
   public:
    explicit RecentRows(std::size_t places) : places_(places) {}
    // Of two rows of always the same `rows`; `first` is the one that comes again.
    double cosine(const Rows& rows, std::int64_t first, std::int64_t second);

   private:
    std::size_t place_of(std::int64_t row) const {
      return static_cast<std::size_t>(row) % places_.size();
    }

    std::vector<LoadedRow> places_;
    LoadedRow first_;  // its values lie at its place
    LoadedRow spare_;  // the second, where that has the place of the first
  };

  // Cosine of an image and a text, of a shared space.
  double cross(std::int64_t image_row, std::int64_t text_row);

  const Corpus& corpus_;
  std::int64_t loaded_ = -1;
  std::int64_t last_candidate_ = -1;
  std::vector<RecentRows> recent_;     // of each channel
  std::vector<RecentRows> positives_;  // likewise
  std::vector<double> wide_image_, wide_text_;
};

// The greatest float32 that is no more than the value.
inline float rounded_down(double value) noexcept {
  const auto rounded = static_cast<float>(value);
  return static_cast<double>(rounded) > value
             ? std::nextafter(rounded, -std::numeric_limits<float>::infinity())
             : rounded;
}

// The least that is no less.
inline float rounded_up(double value) noexcept { return -rounded_down(-value); }

}  // namespace helip::mining
