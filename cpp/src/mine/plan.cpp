#include "plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "engine.h"
#include "hnsw.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kDefaultCandidates = 3000000;
constexpr std::int64_t kExactRows = 300000;  // up to here automatic does not ask for the time
constexpr double kExactSeconds = 1800.0;
constexpr double kMeasureSeconds = 0.04;
constexpr double kScanEfficiency = 0.85;  // of the bare tiles' rate: packing, screening, waiting
// Distances that a graph takes for one row, in proportion to the breadth of the search: each of
// `breadth` visited rows shows some new neighbours.
constexpr double kDistancesPerBreadth = 12.0;

// Seconds that one thread takes for one pair.
struct Rates {
  double tile;   // similarity in a tile
  double exact;  // float64 score
};

template <typename Body>
double seconds_per_call(const Body& body) {
  using Clock = std::chrono::steady_clock;
  body();
  const auto start = Clock::now();
  std::int64_t calls = 0;
  double seconds = 0.0;
  do {
    body();
    ++calls;
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
  } while (seconds < kMeasureSeconds);
  return seconds / static_cast<double>(calls);
}

struct alignas(64) Products {
  float image[kTileRows * kTileColumns];
  float text[kTileRows * kTileColumns];
};

Rates measure_rates(const Corpus& corpus, const Filter& filter) {
  // 64-byte alignment by hand: the kernels ask for it.
  const std::int64_t row_size = filter.row_panel_size();
  const std::int64_t column_size = filter.column_panel_size();
  std::vector<float> panels(static_cast<std::size_t>(8 * row_size + column_size + 16), 0.01F);
  auto address = reinterpret_cast<std::uintptr_t>(panels.data());
  float* columns = panels.data() + (64 - address % 64) % 64 / sizeof(float);
  const float* rows = columns + column_size;
  Products products;
  Rates rates;
  rates.tile =
      seconds_per_call([&] {
        for (int panel = 0; panel < 8; ++panel) {
          filter.similarities(rows + panel * row_size, columns, products.image, products.text);
        }
      }) /
      (8.0 * kTileRows * kTileColumns);

  const std::int64_t dimensions = corpus.image_dimensions() + corpus.text_dimensions();
  const std::vector<double> wide(static_cast<std::size_t>(dimensions), 0.01);
  const std::vector<float> narrow(static_cast<std::size_t>(dimensions), 0.01F);
  volatile double sink = 0.0;
  rates.exact = seconds_per_call([&] {
                  for (int i = 0; i < 64; ++i) {
                    sink = sink + corpus.kernel().dot_float(wide.data(), narrow.data(), dimensions);
                  }
                }) /
                64.0;
  // Candidates lie anywhere in memory: at least the time to fetch them, at 4 GB/s and thread.
  rates.exact = std::max(rates.exact, static_cast<double>(dimensions) * 4.0 / 4e9);
  return rates;
}

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

class Planner {
 public:
  Planner(const Corpus& corpus, const Filter& filter, const MineOptions& options,
          const Rates& rates)
      : options_(options),
        rates_(rates),
        filter_(filter),
        rows_(corpus.size()),
        dimensions_(corpus.image_dimensions() + corpus.text_dimensions()) {
    processors_ = static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    threads_ = options.threads > 0 ? options.threads : processors_;
    speed_ = std::min(threads_, processors_);
    lengths_ = 16 * rows_;
  }

  MinePlan exact() const {
    MinePlan plan = base(Method::exact, rows_ * std::max<std::int64_t>(0, rows_ - 1));
    const BandSize size = bands(rows_, rows_);
    plan.bands = size.bands;
    plan.memory_bytes = lengths_ + size.bytes;
    double computed = 0.0;
    for (std::int64_t first = 0; first < rows_; first += size.targets) {
      const auto band = static_cast<double>(std::min(size.targets, rows_ - first));
      computed += band * (static_cast<double>(rows_) - band / 2.0);
    }
    plan.seconds = tiles(computed) + rerank(static_cast<double>(std::min(options_.k, rows_)));
    return plan;
  }

  MinePlan sample() const {
    const std::int64_t candidates = sample_candidates(options_, rows_);
    MinePlan plan = base(Method::sample, rows_ * candidates);
    const std::int64_t group = std::min(rows_, options_.refresh);
    const BandSize size = bands(group, candidates);
    const std::int64_t groups = (rows_ + options_.refresh - 1) / options_.refresh;
    plan.bands = groups * size.bands;
    plan.memory_bytes = lengths_ + size.bytes + 4 * candidates;
    plan.seconds = tiles(static_cast<double>(plan.pairs)) + measuring() +
                   rerank(static_cast<double>(std::min(options_.k, candidates)));
    return plan;
  }

  MinePlan hnsw() const {
    const std::int64_t graphs = hnsw_graphs(rows_);
    const std::int64_t breadth = graphs * hnsw_first_breadth(options_.k, graphs);
    MinePlan plan = base(Method::hnsw, rows_ * breadth);
    plan.bands = 1;
    plan.memory_bytes = lengths_ + rows_ * (4 * dimensions_ + 8 * kHnswDegree + 150);
    const double distances = static_cast<double>(rows_) * kDistancesPerBreadth *
                             (static_cast<double>(kHnswBuildBreadth) *
                                  (speed_ / std::min<double>(speed_, static_cast<double>(graphs))) +
                              static_cast<double>(breadth));
    plan.seconds =
        distances * rates_.exact / speed_ + measuring() + rerank(static_cast<double>(breadth));
    return plan;
  }

 private:
  MinePlan base(Method method, std::int64_t pairs) const {
    MinePlan plan;
    plan.method = method;
    plan.pairs = pairs;
    const std::int64_t id_bytes = rows_ >= (std::int64_t{1} << 31) ? 8 : 4;
    plan.disk_bytes = rows_ * (options_.k * (id_bytes + 4) + 4) + 4096;
    return plan;
  }
  BandSize bands(std::int64_t targets, std::int64_t candidates) const {
    return band_size(filter_, targets, candidates, options_.k, memory_budget(options_), threads_);
  }
  double tiles(double pairs) const { return pairs * rates_.tile / (speed_ * kScanEfficiency); }
  double rerank(double candidates) const {
    return static_cast<double>(rows_) * candidates * rates_.exact / speed_;
  }
  double measuring() const {
    return tiles(static_cast<double>(std::min<std::int64_t>(rows_, 1000)) *
                 static_cast<double>(rows_));
  }

  const MineOptions& options_;
  const Rates rates_;
  const Filter& filter_;
  const std::int64_t rows_;
  const std::int64_t dimensions_;
  int processors_ = 1;
  int threads_ = 1;
  double speed_ = 1.0;
  std::int64_t lengths_ = 0;
};

}  // namespace

std::int64_t sample_candidates(const MineOptions& options, std::int64_t rows) noexcept {
  return options.candidates > 0 ? options.candidates : std::min(rows, kDefaultCandidates);
}

MinePlan make_plan(const Corpus& corpus, const Filter& filter, const MineOptions& options) {
  const Rates rates = measure_rates(corpus, filter);
  const Planner planner(corpus, filter, options, rates);
  MinePlan plan = planner.exact();
  if (options.method == Method::exact) {
    plan.reason = "asked for";
    return plan;
  }
  if (options.method == Method::sample || options.method == Method::hnsw) {
    const std::string reason = "asked for; exact would take about " + describe(plan.seconds);
    plan = options.method == Method::sample ? planner.sample() : planner.hnsw();
    plan.reason = reason;
    return plan;
  }
  if (corpus.size() <= kExactRows) {
    plan.reason = "up to " + std::to_string(kExactRows) + " rows exact mining is affordable";
    return plan;
  }
  // Judged with every processor and the usual memory, so that the choice depends on neither option.
  MineOptions whole = options;
  whole.threads = 0;
  whole.memory = 0;
  const Planner machine(corpus, filter, whole, rates);
  const double exact_seconds = machine.exact().seconds;
  const double hnsw_seconds = machine.hnsw().seconds;
  const std::string times = "exact mining takes this machine about " + describe(exact_seconds) +
                            ", a graph about " + describe(hnsw_seconds);
  if (exact_seconds < kExactSeconds || exact_seconds < hnsw_seconds) {
    plan.reason = times;
    return plan;
  }
  plan = planner.hnsw();
  plan.reason = times;
  return plan;
}

}  // namespace helip::mining
