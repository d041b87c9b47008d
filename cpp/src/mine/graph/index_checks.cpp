#include "mine/graph/index_checks.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "base/refuse.h"
#include "mine/corpus/mine_options.h"

namespace helip::mining {
void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value >= least && value <= most) return;
  refuse(std::string(name) + " is " + std::to_string(value) + ", but must lie in " +
         std::to_string(least) + " .. " + std::to_string(most));
}

bool are_sound(const PairIndexOptions& options) noexcept {
  const auto share = [](double value) { return value >= 0.0 && value <= 1.0; };
  return options.degree >= kLeastDegree && options.degree <= kMostDegree && options.breadth >= 1 &&
         options.breadth <= kMostBreadth && share(options.image_max) && share(options.text_max);
}

void check_index_options(const PairIndexOptions& options) {
  check_range("degree", options.degree, kLeastDegree, kMostDegree);
  check_range("breadth", options.breadth, 1, kMostBreadth);
}

MineOptions checked_matrices(const MatrixView& image, const MatrixView& text,
                             const PairIndexOptions& options, int threads) {
  MineOptions mine;
  mine.image_max = options.image_max;
  mine.text_max = options.text_max;
  mine.threads = threads;
  validate(image, text, mine);
  return mine;
}

void check_dimensions(const char* name, std::int64_t given, std::int64_t wanted) {
  if (given == wanted) return;
  refuse(std::string(name) + " embeddings have " + std::to_string(given) +
         " dimensions, but those of the index have " + std::to_string(wanted) +
         "; embed with the encoder that the index was built with");
}

std::vector<std::int64_t> checked_ids(const std::vector<std::int64_t>& ids, std::int64_t rows,
                                      std::int64_t first) {
  std::vector<std::int64_t> all = ids;
  if (all.empty()) {
    if (rows > 0 && first > kMostId - (rows - 1)) {
      refuse("the next of " + std::to_string(rows) + " ids would be " + std::to_string(first) +
             ", and the largest may be " + std::to_string(kMostId) + "; give ids");
    }
    all.resize(static_cast<std::size_t>(rows));
    std::iota(all.begin(), all.end(), first);
    return all;
  }
  if (static_cast<std::int64_t>(all.size()) != rows) {
    refuse(std::to_string(all.size()) + " ids were given for " + std::to_string(rows) +
           " pairs; give one for each, or none");
  }
  std::vector<std::int64_t> sorted = all;
  std::sort(sorted.begin(), sorted.end());
  if (!sorted.empty() && sorted.front() < 0) {
    const auto at = std::find(all.begin(), all.end(), sorted.front()) - all.begin();
    refuse("id " + std::to_string(sorted.front()) + " of row " + std::to_string(at) +
           " is negative; -1 stands for no match, so use ids from 0 on");
  }
  if (!sorted.empty() && sorted.back() > kMostId) {
    const auto at = std::find(all.begin(), all.end(), sorted.back()) - all.begin();
    refuse("id " + std::to_string(sorted.back()) + " of row " + std::to_string(at) +
           " is too large; use ids up to " + std::to_string(kMostId));
  }
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    const auto one = std::find(all.begin(), all.end(), *twice);
    const auto other = std::find(one + 1, all.end(), *twice);
    refuse("id " + std::to_string(*twice) + " is that of row " + std::to_string(one - all.begin()) +
           " and of row " + std::to_string(other - all.begin()) +
           "; each pair needs an id of its own");
  }
  return all;
}

}  // namespace helip::mining
