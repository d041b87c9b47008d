// Which filters a data set's pairs go through before they are scored, chosen from a sample.
//
// With unit vectors uᵢ, vᵢ, weight l and w = [√l u; v/√l], the arithmetic and the geometric mean
// give, where both similarities are positive,
//
//     <wᵢ, wⱼ> = l·sᴵ + sᵀ/l >= 2 √(sᴵ sᵀ) = 2 √score,
//
// so one inner product bounds the score. It in turn is bounded by a few leading dimensions and what
// they leave (Cauchy-Schwarz): <wᵢ, wⱼ> <= <V wᵢ, V wⱼ> + tailᵢ·tailⱼ, tail² = |w|² - |V w|².
// With one modality w is its unit vector, and the inner product the score itself.
#pragma once

#include <cstdint>
#include <vector>

#include "base/team.h"
#include "mine/bound/basis.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

struct FilterPlan {
  double weight = 1.0;  // l
  double length = 1.0;  // |w|² of a row: l + 1/l, or 1 with one modality
  // Rows are in two tiers, by the thresholds they start with: the `high_share` highest need fewer
  // dimensions to tell what cannot reach them. Leading dimensions that every pair is held against,
  // multiples of 64: `high` where both rows are high, else `low`; 0: w as it is.
  double high_share = 0.0;
  std::int64_t high = 0;
  std::int64_t low = 0;
  std::int64_t second = 0;  // of the next filter, more than `low`; 0: there is none
  Basis basis;              // the first max(low, second) directions, none if both are 0
  // Rows are compared with few others, so what is made of each must be cheap: there are no fine
  // codes.
  bool light = false;
  // Means over the sample, taken off before rounding to codes: of the coordinates along the basis
  // [basis.count], of w if there is none [dimensions], and of the unit vectors. Empty: zero.
  std::vector<float> mean;
  std::vector<float> image_mean, text_mean;
  // The leading directions one by one, to tell which rows lie close together; may be empty.
  Basis leading;

  // Shares of the sample's pairs that reach the threshold of a row by each bound. -1 where no
  // sample was taken.
  double passed_first = -1.0;  // of `high` and `low`, each where it is used
  double passed_second = -1.0;
  double passed_whole = -1.0;  // by <wᵢ, wⱼ> itself
  double passed_score = -1.0;  // by the score: no filter can pass less
  double cycles = 0.0;         // that one pair takes, roughly: what the choice minimises
};

// Which pairs are held against the filters.
enum class FilteredPairs {
  all,
  closest,  // a share of them, in which are many of those that pass
  few,      // a share of them, whose rows are compared with few others each: the plan is light
};
struct Comparison {
  FilteredPairs pairs = FilteredPairs::all;
  double share = 1.0;  // of all pairs
  // Of `closest`: the rows that the first threshold of a row comes from, and the targets that meet
  // all rows to measure the recall.
  std::int64_t seeds = 0;
  std::int64_t measured = 0;
};
// Deterministic: depends on what is given alone.
FilterPlan choose_filters(const Corpus& corpus, std::int64_t k, Team& team,
                          const Comparison& comparison = {});

// Writes w of a row, float32: out [corpus.dimensions()].
class WeightedRow {
 public:
  WeightedRow(const Corpus& corpus, double weight);
  void read(std::int64_t row, float* out);

 private:
  const Corpus& corpus_;
  const float image_factor_;
  const float text_factor_;
  LoadedRow image_, text_;
};

}  // namespace helip::mining
