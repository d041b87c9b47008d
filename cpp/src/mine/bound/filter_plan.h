// Which filters a data set's pairs go through before they are scored, chosen from a sample.
//
// A channel c has unit vectors x_c, similarities s_c and a weight w_c, which is 1 for image and
// text; W is the sum of the weights. With factors f_c = w_c l_c, Π l_c^w_c = 1, and w = [√f_1 x_1;
// √f_2 x_2; ...], the inequality of the weighted arithmetic and geometric means, to l_c s_c, gives,
// where all similarities are positive,
//
//     <wᵢ, wⱼ> = Σ w_c l_c s_c >= W (Π (l_c s_c)^w_c)^(1/W) = W score^(1/W),    2 √score of two,
//
// so one inner product bounds the score. It in turn is bounded by a few leading dimensions and what
// they leave (Cauchy-Schwarz): <wᵢ, wⱼ> <= <V wᵢ, V wⱼ> + tailᵢ·tailⱼ, tail² = |w|² - |V w|².
// With one channel w is its unit vector, and with f_c = w_c / W the inner product is the mean of
// the similarities: the score itself where that is asked for.
#pragma once

#include <cstdint>
#include <vector>

#include "base/team.h"
#include "mine/bound/basis.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

struct FilterPlan {
  std::vector<double> factors;  // of each channel; empty: their weights
  double length = 1.0;          // |w|² of a row: their sum
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
  std::vector<std::vector<float>> unit_means;  // of each channel
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

// The least <w, w'> of a pair that scores so much.
float least_product(const Corpus& corpus, float score) noexcept;
// Of a product of two signed similarities |<w, w'>| bounds |score|.
bool is_bounded_by_magnitude(const Corpus& corpus) noexcept;

// Writes w of a row, float32: out [corpus.dimensions()].
class WeightedRow {
 public:
  WeightedRow(const Corpus& corpus, const std::vector<double>& factors);
  void read(std::int64_t row, float* out);
  // In two steps: the unit vectors alone, and w of them, which may lie in the same place.
  void read_units(std::int64_t row, float* out);
  void weigh(const float* units, float* out) const noexcept;

 private:
  const Corpus& corpus_;
  std::vector<float> roots_;  // of the factors
  std::vector<LoadedRow> loaded_;
};

}  // namespace helip::mining
