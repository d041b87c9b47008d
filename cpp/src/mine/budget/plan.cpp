#include "mine/budget/plan.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "helip/machine.h"
#include "mine/bound/prepared_corpus.h"
#include "mine/budget/budget.h"
#include "mine/pool/bands.h"
#include "mine/pool/recall.h"

namespace helip::mining {
namespace {

// How fast this machine is at what mining does, from a short measurement.
constexpr double kMemoryRate = 10e9;  // bytes a second and thread, of rows that are scattered

// Seconds that one thread takes.
struct Rates {
  double cycle;  // of the processor
  double codes;  // 64 products of int8 codes, the unit of FilterPlan::cycles
  double exact;  // float64 score
};

constexpr double kMeasureSeconds = 0.04;
constexpr std::int64_t kMeasuredDepth = 256;

// Processor time, so that what else the machine does meanwhile does not count.
double thread_seconds() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <typename Body>
double seconds_per_call(const Body& body) {
  body();
  const double start = thread_seconds();
  std::int64_t calls = 0;
  double seconds = 0.0;
  do {
    body();
    ++calls;
    seconds = thread_seconds() - start;
  } while (seconds < kMeasureSeconds);
  return seconds / static_cast<double>(calls);
}

// A chain of instructions of which each waits for the one before, and takes a cycle.
double seconds_of_a_cycle() {
  constexpr int kLength = 1 << 14;
  volatile std::uint32_t start = 1;
  volatile std::uint32_t sink = 0;
  return seconds_per_call([&] {
           std::uint32_t value = start;
           for (int i = 0; i < kLength; ++i) {
             value ^= value << 13;
             value ^= value >> 17;
             value ^= value << 5;
           }
           sink = value;
         }) /
         (6.0 * kLength);
}

Rates measure_rates(const Corpus& corpus) {
  const Kernel& kernel = corpus.kernel();
  const auto rows = allocate_aligned<std::uint8_t>(row_panel_bytes(kMeasuredDepth));
  const auto columns = allocate_aligned<std::int8_t>(column_panel_bytes(kMeasuredDepth));
  std::fill_n(rows.get(), row_panel_bytes(kMeasuredDepth), std::uint8_t{1});
  std::fill_n(columns.get(), column_panel_bytes(kMeasuredDepth), std::int8_t{1});
  alignas(64) std::int32_t products[kTileRows * kTileColumns];
  Rates rates;
  rates.cycle = seconds_of_a_cycle();
  rates.codes = seconds_per_call([&] {
                  for (int i = 0; i < 64; ++i) {
                    kernel.code_products(rows.get(), columns.get(), kMeasuredDepth, products);
                  }
                }) /
                (64.0 * kTileRows * kTileColumns * static_cast<double>(kMeasuredDepth) / 64.0);

  const std::int64_t dimensions = corpus.dimensions();
  const std::vector<float> values(static_cast<std::size_t>(dimensions), 0.01F);
  volatile double sink = 0.0;
  rates.exact = seconds_per_call([&] {
                  for (int i = 0; i < 64; ++i) {
                    sink =
                        sink + corpus.kernel().dot_float(values.data(), values.data(), dimensions);
                  }
                }) /
                64.0;
  // Rows come from memory: at least the time to fetch one.
  rates.exact = std::max(rates.exact, static_cast<double>(dimensions) * 4.0 / kMemoryRate);
  return rates;
}

constexpr double kExactSeconds = 1800.0;
constexpr double kSweepEfficiency = 0.85;  // of the bare tiles' rate: packing, waiting
// Cycles of the processor for what comes before the pairs: the sample, and for each row its order,
// codes and seeds.
constexpr double kSampleCycles = 1.8e6;         // by dimension
constexpr double kRowCycles = 7.5e4;            // and
constexpr double kRowCyclesByDimension = 21.0;  // more by dimension
// Pairs that are scored for one that ends in a pool: those that come while thresholds rise, less
// those that serve both of their rows.
constexpr double kScoredPerKept = 1.2;
constexpr double kScoreCycles = 300;  // of a pair that is scored, besides its product
// Candidates of a sample come by cluster, the best of a target together: more than beat those
// before them when they come in any order.
constexpr double kClusteredSample = 2.0;
// Cycles that a row takes to list the neighbours of its neighbours, for one pass.
constexpr double kPassCycles = 1.5e4;
// Distances that a graph takes for one row, in proportion to the breadth of a search: each of
// `breadth` visited rows shows some new neighbours.
constexpr double kDistancesPerBreadth = 7.0;
constexpr double kVisitCycles = 220;  // of a visited row, besides its codes

std::string describe(double seconds) {
  char text[32];
  if (seconds < 120.0) {
    std::snprintf(text, sizeof text, "%.1f s", seconds);
  } else if (seconds < 7200.0) {
    std::snprintf(text, sizeof text, "%.0f min", seconds / 60.0);
  } else {
    std::snprintf(text, sizeof text, "%.1f h", seconds / 3600.0);
  }
  return text;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

class Planner {
 public:
  Planner(const Corpus& corpus, const FilterPlan& filters, const MineOptions& options,
          const Rates& rates)
      : corpus_(corpus),
        filters_(filters),
        options_(options),
        rates_(rates),
        rows_(corpus.size()),
        dimensions_(corpus.dimensions()) {
    const int processors = this_machine().processors;
    threads_ = options.threads > 0 ? options.threads : processors;
    speed_ = std::min(threads_, processors);
    lengths_ = 16 * rows_;
  }

  MinePlan exact() const {
    MinePlan plan = base(MiningMethod::exact, rows_ * std::max<std::int64_t>(0, rows_ - 1));
    const std::int64_t left = use_memory(plan);
    BandSize size = band_size(rows_, options_, rows_, left);
    // A part is mined for itself: pairs of two are looked at twice.
    const std::int64_t parts =
        std::clamp<std::int64_t>(options_.parts, 1, std::max<std::int64_t>(rows_, 1));
    size.targets = std::min(size.targets, (rows_ + parts - 1) / parts);
    plan.bands = std::max(size.bands, parts);
    plan.memory_bytes += pool_bytes(size.targets);
    double computed = 0.0;
    for (std::int64_t first = 0; first < rows_; first += size.targets) {
      const auto band = static_cast<double>(std::min(size.targets, rows_ - first));
      computed += band * (static_cast<double>(rows_) - band / 2.0);
    }
    plan.seconds = preparation() + sweep(computed) + scoring(kept() * kScoredPerKept);
    return plan;
  }

  MinePlan sample() const {
    const std::int64_t candidates = sample_candidates(options_, rows_);
    MinePlan plan = base(MiningMethod::sample, rows_ * candidates);
    const std::int64_t group = std::min(rows_, options_.refresh);
    const std::int64_t left = use_memory(plan);
    const BandSize size = band_size(group, options_, candidates, left);
    const std::int64_t groups = (rows_ + options_.refresh - 1) / options_.refresh;
    plan.bands = groups * size.bands;
    plan.memory_bytes += pool_bytes(size.targets) + 4 * candidates;
    // Without thresholds at first a pool takes in what beats those before: the i-th with chance
    // kept / i.
    const double all = static_cast<double>(candidates);
    const double scored =
        std::min(all, kClusteredSample * kept() * (1.0 + std::log(std::max(1.0, all / kept()))));
    plan.seconds =
        preparation() + sweep(static_cast<double>(plan.pairs)) + measuring() + scoring(scored);
    return plan;
  }

  MinePlan hnsw() const {
    const std::int64_t breadth = hnsw_first_breadth(options_.k + options_.skip);
    MinePlan plan = base(MiningMethod::hnsw, rows_ * breadth);
    plan.bands = 1;
    plan.memory_bytes = lengths_ + hnsw_bytes(corpus_);
    const std::int64_t pools = pool_bytes(rows_);
    (pools > memory_budget(options_) - hnsw_bytes(corpus_) ? plan.scratch_bytes
                                                           : plan.memory_bytes) += pools;
    const double distance = kVisitCycles * rates_.cycle +
                            std::max(static_cast<double>(dimensions_) / 64.0 * rates_.codes,
                                     static_cast<double>(dimensions_) / kMemoryRate);
    const double distances = static_cast<double>(rows_) * kDistancesPerBreadth *
                             static_cast<double>(kHnswGraph.breadth + breadth);
    plan.seconds = preparation() + measuring() + distances * distance / speed_ + scoring(kept());
    return plan;
  }

  // Where the first round and one pass are enough; `filters_` are those for close pairs. Data
  // without structure takes as long as exact mining and the rounds before.
  MinePlan partition() const {
    if (!filters_pay(corpus_, rows_) ||
        !partition_pays(rows_, options_.k + options_.skip, options_.recall)) {
      MinePlan plan = exact();
      plan.method = MiningMethod::partition;
      return plan;
    }
    const auto rows = static_cast<double>(rows_);
    const double compared = rows * partition_share(rows_, options_.k + options_.skip);
    MinePlan plan = base(MiningMethod::partition, static_cast<std::int64_t>(rows * compared));
    const std::int64_t left = use_memory(plan);
    const std::int64_t pools = pool_bytes(rows_) + 4 * kNeighbours * rows_;
    (pools > left ? plan.scratch_bytes : plan.memory_bytes) += pools;
    plan.bands = 1;
    // In the first round each pair serves both of its rows.
    const auto seeds = static_cast<double>(partition_seeds(options_.k + options_.skip));
    const double passes = rows * kPassCycles * rates_.cycle / speed_;
    plan.seconds = preparation() + measuring() + sweep(rows * compared / 2.0) +
                   sweep(rows * seeds) + passes + scoring(kept() * kScoredPerKept);
    return plan;
  }

 private:
  MinePlan base(MiningMethod method, std::int64_t pairs) const {
    MinePlan plan;
    plan.method = method;
    plan.pairs = pairs;
    const std::int64_t id_bytes = rows_ >= (std::int64_t{1} << 31) ? 8 : 4;
    plan.disk_bytes = rows_ * (options_.k * (id_bytes + 4) + 4) + 4096;
    return plan;
  }
  // Adds what is there besides the pools; returns what is left for them.
  std::int64_t use_memory(MinePlan& plan) const {
    plan.memory_bytes = lengths_;
    const std::int64_t memory = memory_budget(options_);
    if (!filters_pay(corpus_, rows_)) return memory;
    const CodePlacement codes =
        place_codes(corpus_, filters_,
                    bytes_without_codes(corpus_, options_.k + options_.skip, threads_), memory);
    (codes.on_disk ? plan.scratch_bytes : plan.memory_bytes) += codes.code_bytes;
    return codes.left;
  }
  std::int64_t pool_bytes(std::int64_t targets) const {
    return targets * Pools::bytes_per_target(std::min(options_.k + options_.skip, rows_), 0);
  }
  double kept() const { return static_cast<double>(std::min(options_.k + options_.skip, rows_)); }
  double sweep(double pairs) const {
    if (!filters_pay(corpus_, rows_)) return pairs * rates_.exact / speed_;
    return pairs * filters_.cycles * rates_.codes / (speed_ * kSweepEfficiency);
  }
  double preparation() const {
    if (!filters_pay(corpus_, rows_)) return 0.0;
    const double sample =
        filters_.leading.count > 0 ? kSampleCycles * static_cast<double>(dimensions_) : 0.0;
    return (sample + (kRowCycles + kRowCyclesByDimension * static_cast<double>(dimensions_)) *
                         static_cast<double>(rows_)) *
           rates_.cycle / speed_;
  }
  double scoring(double candidates) const {
    return static_cast<double>(rows_) * candidates * (rates_.exact + kScoreCycles * rates_.cycle) /
           speed_;
  }
  double measuring() const {
    return sweep(static_cast<double>(std::min(rows_, kRecallTargets)) * static_cast<double>(rows_));
  }

  const Corpus& corpus_;
  const FilterPlan& filters_;
  const MineOptions& options_;
  const Rates rates_;
  const std::int64_t rows_;
  const std::int64_t dimensions_;
  int threads_ = 1;
  double speed_ = 1.0;
  std::int64_t lengths_ = 0;
};

}  // namespace

Planned make_plan(const Corpus& corpus, const MineOptions& options, Team& team) {
  const bool automatic = options.method == MiningMethod::automatic && options.parts == 1;
  const Rates rates = measure_rates(corpus);
  const auto filters_for = [&](MiningMethod method) {
    MineOptions own = options;
    own.method = method;
    return filters_pay(corpus, corpus.size()) ? choose_filters_for(corpus, own, team)
                                              : FilterPlan();
  };
  Planned exact;
  exact.filters = filters_for(MiningMethod::exact);
  exact.plan = Planner(corpus, exact.filters, options, rates).exact();
  if (options.method == MiningMethod::exact) {
    exact.plan.reason = "asked for";
    return exact;
  }
  if (options.method == MiningMethod::automatic && !automatic) {
    exact.plan.reason = "parts are mined exactly";
    return exact;
  }
  if (automatic && corpus.size() <= kExactRows) {
    exact.plan.reason = "up to " + std::to_string(kExactRows) + " rows exact mining is affordable";
    return exact;
  }
  if (!automatic) {
    Planned asked;
    asked.filters =
        options.method == MiningMethod::hnsw ? exact.filters : filters_for(options.method);
    const Planner planner(corpus, asked.filters, options, rates);
    asked.plan = options.method == MiningMethod::sample ? planner.sample()
                 : options.method == MiningMethod::hnsw ? planner.hnsw()
                                                        : planner.partition();
    asked.plan.reason = "asked for; exact would take about " + describe(exact.plan.seconds);
    return asked;
  }
  if (most_recall_shown(corpus.size()) < options.recall) {
    exact.plan.reason = "1,000 targets cannot show a recall of " + number(options.recall);
    return exact;
  }
  // Evaluation with every processor and the usual memory, so that the choice depends on neither
  // option.
  MineOptions whole = options;
  whole.threads = 0;
  whole.memory = 0;
  Planned clusters;
  clusters.filters = filters_for(MiningMethod::partition);
  const double exact_seconds = Planner(corpus, exact.filters, whole, rates).exact().seconds;
  const double clusters_seconds =
      Planner(corpus, clusters.filters, whole, rates).partition().seconds;
  const std::string reason = "exact mining takes this machine about " + describe(exact_seconds) +
                             ", partitions about " + describe(clusters_seconds);
  if (exact_seconds < kExactSeconds || exact_seconds < 2.0 * clusters_seconds) {
    exact.plan.reason = reason;
    return exact;
  }
  clusters.plan = Planner(corpus, clusters.filters, options, rates).partition();
  clusters.plan.reason = reason;
  return clusters;
}

}  // namespace helip::mining
