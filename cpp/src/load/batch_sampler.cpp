#include "helip/batch_sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>
#include <unordered_set>
#include <utility>

#include "helip/error.h"
#include "load/counter_random.h"
#include "load/hard_pair_draw.h"
#include "load/pair_source.h"

namespace helip {
namespace {

using load::CounterRandom;
using load::PairSource;

// What a random number is for; part of its key, so that no two uses share a sequence.
enum Purpose : std::uint64_t { kOrder = 1, kFraction = 2, kDraw = 3, kFill = 4 };

template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(ErrorCode::invalid_argument, message.str());
}

std::int64_t ceil_divide(std::int64_t value, std::int64_t by) noexcept {
  return value / by + (value % by != 0 ? 1 : 0);
}

void check_options(const BatchOptions& options, std::int64_t k) {
  const std::int64_t p = options.hard_per_target;
  if (p < 0) refuse("hard_per_target = ", p, " is negative; use 0 for batches without hard pairs");
  if (options.batch_size < 1) refuse("batch_size = ", options.batch_size, " must be at least 1");
  if (p >= options.batch_size) {
    refuse("batch_size = ", options.batch_size,
           " has no room for one target and hard_per_target = ", p,
           " hard pairs; raise batch_size above hard_per_target");
  }
  if (options.world_size < 1) refuse("world_size = ", options.world_size, " must be at least 1");
  if (options.rank < 0 || options.rank >= options.world_size) {
    refuse("rank = ", options.rank, " must lie in 0 .. world_size - 1 = ", options.world_size - 1);
  }
  if (!std::isfinite(options.temperature) || options.temperature < 0.0) {
    refuse("temperature = ", options.temperature,
           " must be finite and not negative; 0 draws hard pairs uniformly");
  }
  if (!(options.fraction >= 0.0 && options.fraction <= 1.0)) {
    refuse("fraction = ", options.fraction, " must lie in 0 .. 1");
  }
  if (p == 0) return;  // the rank window draws nothing
  if (options.rank_max < 0 || options.rank_max > k) {
    refuse("rank_max = ", options.rank_max, " must lie in 1 .. k = ", k,
           ", the pool size of the table, or be 0 for all of it");
  }
  const std::int64_t last = options.rank_max == 0 ? k : options.rank_max;
  if (options.rank_min < 0 || options.rank_min >= last) {
    refuse("rank_min = ", options.rank_min, " must lie in 0 .. ", last - 1,
           ", below the end of the rank window");
  }
  if (p > last - options.rank_min) {
    refuse("hard_per_target = ", p, " exceeds the ", last - options.rank_min,
           " ranks of the window [", options.rank_min, ", ", last,
           "); widen the window, mine a larger k or ask for fewer hard pairs");
  }
}

}  // namespace

const char* name_of(ShortPolicy policy) noexcept {
  switch (policy) {
    case ShortPolicy::skip: return "skip";
    case ShortPolicy::random: return "random";
    case ShortPolicy::error: return "error";
  }
  return "unknown";
}

ShortPolicy short_policy_from_name(const std::string& name) {
  for (const auto policy : {ShortPolicy::skip, ShortPolicy::random, ShortPolicy::error}) {
    if (name == name_of(policy)) return policy;
  }
  refuse("short policy \"", name, "\" must be one of \"skip\", \"random\", \"error\"");
}

struct BatchSampler::Impl {
  Impl(PairSource source, BatchOptions chosen)
      : pairs(std::move(source)), options(chosen), draw(chosen.temperature) {
    check_options(options, pairs.k());
    if (pairs.grows() && options.short_policy == ShortPolicy::error) {
      refuse("the short policy \"error\" asks for hard pairs that are not found yet; use \"skip\" ",
             "or \"random\" with pairs that grow");
    }
    window_last = options.rank_max == 0 ? pairs.k() : options.rank_max;
    count_targets();
    const std::int64_t world = options.world_size;
    if (eligible < world) {
      refuse(eligible, " eligible targets (", skipped, " short ones skipped) are fewer than the ",
             world, world == 1 ? " rank" : " ranks",
             "; lower hard_per_target, use the short policy ",
             "\"random\", or mine with looser thresholds");
    }
    const std::int64_t targets_per_batch = options.batch_size / (1 + options.hard_per_target);
    steps = ceil_divide(ceil_divide(eligible, world), targets_per_batch);
    if (steps > eligible / world) {  // one target a batch, and the last step has too few for all
      refuse("batch_size = ", options.batch_size, " gives one target a batch, and ", eligible,
             " targets over ", world, " ranks would leave empty batches; raise batch_size to ",
             2 * (1 + options.hard_per_target));
    }
  }

  bool is_short(std::int64_t row) const noexcept {
    return std::min<std::int64_t>(pairs.count(row), window_last) - options.rank_min <
           options.hard_per_target;
  }

  bool is_eligible(std::int64_t row) const noexcept {
    return options.hard_per_target == 0 || options.short_policy == ShortPolicy::random ||
           pairs.grows() || !is_short(row);
  }

  void count_targets() {
    const std::int64_t rows = pairs.size();
    std::int64_t first_short = -1;
    for (std::int64_t row = 0; row < rows; ++row) {
      if (is_eligible(row)) continue;
      if (skipped++ == 0) first_short = row;
    }
    eligible = rows - skipped;
    if (options.short_policy == ShortPolicy::error && skipped > 0) {
      refuse(skipped, " of ", rows,
             " targets have fewer than hard_per_target = ", options.hard_per_target,
             " hard pairs in the rank window [", options.rank_min, ", ", window_last,
             "), the first of them row ", first_short,
             "; use the short policy \"skip\" or \"random\", or ask for fewer hard pairs");
    }
  }

  CounterRandom random_for(Purpose purpose, std::int64_t row) const noexcept {
    return {options.seed, purpose, static_cast<std::uint64_t>(epoch),
            static_cast<std::uint64_t>(row)};
  }

  // The epoch's targets in their order (Fisher-Yates); the only state in proportion to the rows.
  void shuffle() {
    if (order_ready) return;
    order.clear();
    order.reserve(static_cast<std::size_t>(eligible));
    for (std::int64_t row = 0; row < pairs.size(); ++row) {
      if (is_eligible(row)) order.push_back(row);
    }
    CounterRandom random = random_for(kOrder, 0);
    for (std::int64_t last = eligible - 1; last > 0; --last) {
      std::swap(order[static_cast<std::size_t>(last)],
                order[static_cast<std::size_t>(random.below(last + 1))]);
    }
    order_ready = true;
  }

  // Where the targets of batch `number` (of steps * world_size) begin in the order. The product
  // with the remainder keeps batches with one target more evenly among the others.
  std::size_t begin_of(std::int64_t number) const noexcept {
    const std::int64_t batches = steps * options.world_size;
    return static_cast<std::size_t>(number * (eligible / batches) +
                                    number * (eligible % batches) / batches);
  }

  bool gets_hard_pairs(std::int64_t target) const noexcept {
    return random_for(kFraction, target).unit() < options.fraction;
  }

  // A row that is not in the batch, or -1 when the batch holds every row.
  std::int64_t random_row(CounterRandom& random) const {
    const std::int64_t rows = pairs.size();
    if (static_cast<std::int64_t>(taken.size()) >= rows) return -1;
    constexpr int kTries = 64;  // misses happen only where the batch is most of the data set
    std::int64_t row = random.below(rows);
    for (int i = 0; i < kTries && taken.contains(row); ++i) row = random.below(rows);
    while (taken.contains(row)) row = (row + 1) % rows;
    return row;
  }

  void add_row(Batch& batch, std::int64_t row, std::int64_t target_place) {
    batch.index.push_back(row);
    batch.target.push_back(target_place);
  }

  void add_hard_pairs(Batch& batch, std::int64_t target_place) {
    const std::int64_t target = batch.index[static_cast<std::size_t>(target_place)];
    draw.start(pairs, target, options.rank_min,
               std::min<std::int64_t>(pairs.count(target), window_last), random_for(kDraw, target));
    CounterRandom fill = random_for(kFill, target);
    for (std::int64_t place = 0; place < options.hard_per_target; ++place) {
      std::int64_t row = -1;
      bool met_again = false;
      for (std::int64_t rank = draw.next(); rank >= 0; rank = draw.next()) {
        const std::int64_t id = pairs.id(target, rank);
        if (taken.insert(id).second) {
          row = id;
          break;
        }
        met_again = true;
      }
      if (row >= 0) {
        ++statistics.hard_pairs;
        if (met_again) ++statistics.replaced;
      } else if (options.short_policy == ShortPolicy::random && (row = random_row(fill)) >= 0) {
        taken.insert(row);
        ++statistics.random_fills;
      } else {
        ++statistics.unfilled;
        continue;
      }
      add_row(batch, row, target_place);
    }
  }

  Batch make(std::int64_t step) {
    if (step < 0 || step >= steps) {
      refuse("step = ", step, " must lie in 0 .. batches_per_epoch - 1 = ", steps - 1);
    }
    shuffle();
    const std::int64_t number = step * options.world_size + options.rank;
    const std::size_t begin = begin_of(number);
    const std::size_t end = begin_of(number + 1);
    const auto targets = static_cast<std::int64_t>(end - begin);

    Batch batch;
    const std::size_t most = (end - begin) * static_cast<std::size_t>(1 + options.hard_per_target);
    batch.index.reserve(most);
    batch.target.reserve(most);
    taken.clear();
    for (std::int64_t place = 0; place < targets; ++place) {
      add_row(batch, order[begin + static_cast<std::size_t>(place)], place);
      taken.insert(batch.index.back());
    }
    for (std::int64_t place = 0; options.hard_per_target > 0 && place < targets; ++place) {
      const std::int64_t target = batch.index[static_cast<std::size_t>(place)];
      if (pairs.count(target) <= options.rank_min) ++statistics.plain_targets;
      if (gets_hard_pairs(target)) add_hard_pairs(batch, place);
    }
    ++statistics.batches;
    statistics.targets += targets;
    return batch;
  }

  PairSource pairs;
  BatchOptions options;
  std::int64_t window_last = 0;  // one past the last rank that is drawn
  std::int64_t eligible = 0;
  std::int64_t skipped = 0;
  std::int64_t steps = 0;
  std::int64_t epoch = 0;
  bool order_ready = false;
  std::vector<std::int64_t> order;         // [eligible] rows, once order_ready
  std::unordered_set<std::int64_t> taken;  // rows of the batch being made
  load::HardPairDraw draw;
  BatchStatistics statistics;
};

BatchSampler::BatchSampler(HardPairs pairs, BatchOptions options)
    : impl_(std::make_unique<Impl>(PairSource(std::move(pairs)), options)) {}
BatchSampler::BatchSampler(std::shared_ptr<const GrowingPairs> pairs, BatchOptions options)
    : impl_(std::make_unique<Impl>(PairSource(std::move(pairs)), options)) {}
BatchSampler::~BatchSampler() = default;
BatchSampler::BatchSampler(BatchSampler&&) noexcept = default;
BatchSampler& BatchSampler::operator=(BatchSampler&&) noexcept = default;

void BatchSampler::set_epoch(std::int64_t epoch) {
  if (epoch < 0) refuse("epoch = ", epoch, " must not be negative");
  if (epoch == impl_->epoch) return;
  impl_->epoch = epoch;
  impl_->order_ready = false;
}

std::int64_t BatchSampler::epoch() const noexcept { return impl_->epoch; }
std::int64_t BatchSampler::batches_per_epoch() const noexcept { return impl_->steps; }
Batch BatchSampler::batch(std::int64_t step) { return impl_->make(step); }
std::int64_t BatchSampler::eligible_targets() const noexcept { return impl_->eligible; }
std::int64_t BatchSampler::skipped_targets() const noexcept { return impl_->skipped; }
const BatchStatistics& BatchSampler::statistics() const noexcept { return impl_->statistics; }
void BatchSampler::reset_statistics() noexcept { impl_->statistics = {}; }
const BatchOptions& BatchSampler::options() const noexcept { return impl_->options; }

}  // namespace helip
