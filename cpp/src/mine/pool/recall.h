// Recall@k, measured on some targets.
#pragma once

#include <cstdint>
#include <vector>

namespace helip::mining {

struct RecallEstimate {
  std::int64_t targets = 0;  // with a pool that is not empty
  double estimate = 1.0;     // mean share of the exact pool that was found
  // 95 % Wilson score interval with one trial a target: a share varies less than a coin of the
  // same mean, so the interval is on the safe side.
  double low = 0.0;
  double high = 1.0;
};

// What was found of one target's exact pool.
struct RecallHits {
  std::int64_t hits = 0;
  std::int64_t wanted = 0;
};

// Targets whose exact pools are compared, of a corpus that has as many.
inline constexpr std::int64_t kRecallTargets = 1000;

RecallEstimate estimate_recall(const std::vector<RecallHits>& found);
// The lower limit where a sample of so many rows misses nothing: no more can be shown.
double most_recall_shown(std::int64_t rows);

}  // namespace helip::mining
