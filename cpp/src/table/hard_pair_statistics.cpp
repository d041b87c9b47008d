// What a table looks like: score quantiles, outliers, short targets, hubness.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/floating_mode.h"
#include "base/rethrow.h"
#include "helip/hard_pairs.h"
#include "io/byte_progress.h"
#include "table/pair_table.h"

namespace helip {
namespace {

constexpr std::array kQuantiles{0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0};
constexpr std::size_t kHubs = 10;
// Quantiles are exact up to this many scores; beyond it an even sample of them stands in.
constexpr std::int64_t kSampleLimit = std::int64_t{1} << 26;
constexpr std::int64_t kToldRows = 65536;  // between two looks at the progress

std::vector<std::pair<double, double>> quantiles_of(std::vector<float> values) {
  std::vector<std::pair<double, double>> result;
  if (values.empty()) return result;
  std::sort(values.begin(), values.end());
  for (const double q : kQuantiles) {
    // Linear interpolation between order statistics, as numpy.quantile does.
    const double at = q * static_cast<double>(values.size() - 1);
    const auto low = static_cast<std::size_t>(at);
    const std::size_t high = std::min(low + 1, values.size() - 1);
    const double weight = at - static_cast<double>(low);
    result.emplace_back(q, (1 - weight) * values[low] + weight * values[high]);
  }
  return result;
}

}  // namespace

HardPairStatistics HardPairs::statistics(const ProgressCallback& progress) const try {
  const DefaultFloatingMode mode;
  HardPairStatistics result;
  result.targets = size();
  result.k = k();
  std::vector<std::int64_t> in_degree(static_cast<std::size_t>(size()));
  const std::int64_t row_bytes = k() * 8 + 4;
  ByteProgress state("statistics", 2 * size() * row_bytes, progress);
  const auto tell = [&](std::int64_t i) {
    if ((i + 1) % kToldRows == 0) state.advance(kToldRows * row_bytes);
  };
  for (std::int64_t i = 0; i < size(); ++i) {
    tell(i);
    const std::int32_t n = count(i);
    result.pairs += n;
    result.outliers += n == 0 ? 1 : 0;
    result.short_targets += n < k() ? 1 : 0;
    for (std::int32_t r = 0; r < n; ++r) ++in_degree[static_cast<std::size_t>(id(i, r))];
  }
  const std::int64_t step = result.pairs / kSampleLimit + 1;
  std::vector<float> scores;
  std::vector<float> first;
  scores.reserve(static_cast<std::size_t>(result.pairs / step + 1));
  std::int64_t seen = 0;
  for (std::int64_t i = 0; i < size(); ++i) {
    tell(i);
    if (count(i) > 0) first.push_back(score(i, 0));
    for (std::int32_t r = 0; r < count(i); ++r, ++seen) {
      if (seen % step == 0) scores.push_back(score(i, r));
    }
  }
  result.score_quantiles = quantiles_of(std::move(scores));
  result.first_score_quantiles = quantiles_of(std::move(first));

  if (in_degree.empty()) return result;
  const auto n = static_cast<double>(in_degree.size());
  const double mean = static_cast<double>(result.pairs) / n;
  double second = 0;
  double third = 0;
  for (const std::int64_t degree : in_degree) {
    const double deviation = static_cast<double>(degree) - mean;
    second += deviation * deviation;
    third += deviation * deviation * deviation;
    result.never_chosen += degree == 0 ? 1 : 0;
  }
  result.mean_in_degree = mean;
  result.in_degree_skewness = second > 0 ? (third / n) / std::pow(second / n, 1.5) : 0.0;
  std::vector<std::int64_t> order(in_degree.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t top = std::min(kHubs, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(top), order.end(),
                    [&](std::int64_t a, std::int64_t b) {
                      const auto da = in_degree[static_cast<std::size_t>(a)];
                      const auto db = in_degree[static_cast<std::size_t>(b)];
                      return da != db ? da > db : a < b;
                    });
  for (std::size_t i = 0; i < top; ++i) {
    const std::int64_t degree = in_degree[static_cast<std::size_t>(order[i])];
    if (degree > 0) result.hubs.emplace_back(order[i], degree);
  }
  result.max_in_degree = in_degree[static_cast<std::size_t>(order[0])];
  table_->require_whole();
  return result;
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
