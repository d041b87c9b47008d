// Batches of rows that lie together in the graph of hard pairs, collected by random walks with
// restart, as BatchSampler does (arXiv 2306.03355); but every target comes exactly once an epoch.
#include <algorithm>
#include <vector>

#include "base/refuse.h"
#include "load/epoch.h"
#include "load/hardness_schedule.h"
#include "load/strategy_shared.h"

namespace helip::load {
namespace {

// Steps without a target that was not collected yet, after which a walk is given up.
constexpr std::int64_t kPatience = 64;

class Walk final : public Arranged {
 public:
  Walk(const BatchOptions& options, const PairSource& pairs) : Arranged(options, pairs) {
    if (options.walk_rows < 1) refuse("walk_rows = ", options.walk_rows, " must be at least 1");
    if (!(options.restart >= 0.0 && options.restart < 1.0)) {
      refuse("restart = ", options.restart, " must be at least 0 and below 1");
    }
  }

  std::vector<std::int32_t> arrange(std::vector<std::int64_t>& targets,
                                    const EpochRandom& random) const override {
    std::vector<std::int64_t> starts = targets;
    shuffle_rows(starts, random.of(Purpose::order));
    std::vector<bool> waiting(static_cast<std::size_t>(pairs().size()), false);
    for (const std::int64_t row : targets) waiting[static_cast<std::size_t>(row)] = true;
    CounterRandom steps = random.of(Purpose::walk);
    targets.clear();
    for (const std::int64_t start : starts) {
      if (waiting[static_cast<std::size_t>(start)]) collect(start, waiting, targets, steps);
    }
    return {};
  }

 private:
  // Rows that one walk meets for the first time, in the order in which it meets them.
  void collect(std::int64_t start, std::vector<bool>& waiting, std::vector<std::int64_t>& order,
               CounterRandom& steps) const {
    const Hardness window = hardness_at_start(options(), pairs().k());
    const auto reachable = [&](std::int64_t row) {
      return std::min<std::int64_t>(pairs().count(row), window.rank_max) - window.rank_min;
    };
    const auto take = [&](std::int64_t row) {
      waiting[static_cast<std::size_t>(row)] = false;
      order.push_back(row);
    };
    take(start);
    if (reachable(start) <= 0) return;
    std::int64_t here = start;
    std::int64_t collected = 1;
    for (std::int64_t idle = 0; collected < options().walk_rows && idle < kPatience; ++idle) {
      const std::int64_t choices = reachable(here);
      if (choices <= 0 || steps.unit() < options().restart) {
        here = start;
        continue;
      }
      here = pairs().id(here, window.rank_min + steps.below(choices));
      if (!waiting[static_cast<std::size_t>(here)]) continue;
      take(here);
      ++collected;
      idle = -1;
    }
  }
};

}  // namespace

std::unique_ptr<Strategy> make_walk(const BatchOptions& options, const PairSource& pairs) {
  return std::make_unique<Walk>(options, pairs);
}

}  // namespace helip::load
