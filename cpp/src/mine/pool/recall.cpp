#include "mine/pool/recall.h"

#include <algorithm>
#include <cmath>

namespace helip::mining {
namespace {

void set_wilson_interval(RecallEstimate& recall) {
  if (recall.targets == 0) return;
  constexpr double z = 1.959963984540054;
  const auto n = static_cast<double>(recall.targets);
  const double p = recall.estimate;
  const double spread = 1.0 + z * z / n;
  const double middle = (p + z * z / (2.0 * n)) / spread;
  const double half = z / spread * std::sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n));
  // Rounding must not take the estimate itself out of its interval, at 0 and 1.
  recall.low = std::min(p, std::max(0.0, middle - half));
  recall.high = std::max(p, std::min(1.0, middle + half));
}

}  // namespace

RecallEstimate estimate_recall(const std::vector<RecallHits>& found) {
  RecallEstimate recall;
  double sum = 0.0;
  for (const RecallHits& target : found) {
    sum += static_cast<double>(target.hits) / static_cast<double>(target.wanted);
    ++recall.targets;
  }
  if (recall.targets > 0) recall.estimate = sum / static_cast<double>(recall.targets);
  set_wilson_interval(recall);
  return recall;
}

double most_recall_shown(std::int64_t rows) {
  const auto targets = static_cast<std::size_t>(std::min(rows, kRecallTargets));
  return estimate_recall(std::vector<RecallHits>(targets, {1, 1})).low;
}

}  // namespace helip::mining
