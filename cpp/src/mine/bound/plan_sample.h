// The rows that a filter plan is chosen by, and the thresholds that their pools may end with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/team.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

struct PlanSample {
  std::vector<std::uint32_t> rows;
  std::int64_t queries = 0;  // the first rows; of a corpus of queries no others of its own
  std::int64_t dimensions = 0;
  std::vector<float> values;        // [rows, dimensions]
  std::vector<std::uint32_t> more;  // rows that only thresholds come from
};

// At most `most` candidates, and more for thresholds where the data set is so large that fewer than
// one of these would be among the k best of a row. `values` are not read yet.
PlanSample draw_sample(const Corpus& corpus, std::int64_t most, std::int64_t k);

// w of some rows (filter_plan.h): out [rows, dimensions]
void read_rows(const Corpus& corpus, const std::vector<double>& factors,
               std::span<const std::uint32_t> rows, Team& team, std::vector<float>& out);
// Those of w with the unit vectors themselves.
std::vector<double> unit_factors(const Corpus& corpus);

// out [queries, rows] += products of columns [from, to) of `values` [rows, stride] and of the first
// rows of `others` [queries, stride].
void add_products(const std::vector<float>& values, std::int64_t rows,
                  const std::vector<float>& others, std::int64_t queries, std::int64_t stride,
                  std::int64_t from, std::int64_t to, const Kernel& kernel, Team& team,
                  std::vector<float>& out);

// What the similarities of the sample tell: the threshold that each query's pool may end with, and
// the factors at which the bound is tight there.
struct SampleThresholds {
  std::vector<float> score;     // [queries]
  std::vector<double> factors;  // of each channel
  double passed = 0.0;          // share of pairs at or above
};

// `sample.values` are of unit_factors().
SampleThresholds estimate_thresholds(const Corpus& corpus, const PlanSample& sample, std::int64_t k,
                                     Team& team);

}  // namespace helip::mining
