#include "mine/bound/filter_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "mine/bound/plan_sample.h"
#include "mine/kernel/product_panels.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kStep = 64;  // dimensions are tried in steps of this
constexpr std::int64_t kLeading = 128;
constexpr std::int64_t kLeastRows = 2048;  // below, a sample costs more than it saves
// What rounding to codes adds to a bound, as a share of the squared length of what is rounded: with
// coordinates of variance v in steps of 4.5 √v / 127, twice the length of the error.
constexpr double kCodeSlack = 2.0 * 4.5 / (127.0 * 3.46);
// A pair goes on when either of its rows wants it; in the sample only one was asked.
constexpr double kEither = 1.7;

// What a plan may cost.
struct Effort {
  std::int64_t sample_rows;
  std::int64_t basis_rows;  // of those, that the basis is taken from
  std::int64_t dimensions;  // most leading ones
};
constexpr Effort kFull{8192, 6144, 384};
constexpr Effort kSmall{4096, 3072, 384};
constexpr Effort kLight{1536, 768, 192};
constexpr std::int64_t kSmallRows = 32768;  // below, a large sample costs more than it saves

Effort effort_for(std::int64_t rows, bool light) {
  if (light) return kLight;
  return rows < kSmallRows ? kSmall : kFull;
}

// Coordinates of the sample along the directions of a basis: [rows, basis.count].
std::vector<float> coordinates(const PlanSample& sample, const Basis& basis, const Kernel& kernel,
                               Team& team) {
  const auto rows = static_cast<std::int64_t>(sample.rows.size());
  std::vector<float> out(static_cast<std::size_t>(rows * basis.count));
  const ProductPanels panels(basis.vectors.data(), basis.count, basis.dimensions, kernel);
  team.for_blocks(
      (rows + kProductRows - 1) / kProductRows, 1, [&](std::int64_t block, std::int64_t, int) {
        PackedRows packed(basis.dimensions, kernel);
        std::vector<float> products(static_cast<std::size_t>(kProductRows * panels.padded()));
        const std::int64_t first = block * kProductRows;
        const std::int64_t present = std::min(kProductRows, rows - first);
        packed.pack(sample.values.data() + first * basis.dimensions, present);
        panels.multiply(packed.data(), packed.tiles(), products.data());
        for (std::int64_t r = 0; r < present; ++r) {
          std::copy_n(products.begin() + r * panels.padded(), basis.count,
                      out.begin() + (first + r) * basis.count);
        }
      });
  return out;
}

std::vector<float> mean_of(const std::vector<float>& values, std::int64_t rows, std::int64_t stride,
                           std::int64_t from, std::int64_t to) {
  std::vector<double> sums(static_cast<std::size_t>(to - from));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t d = from; d < to; ++d) {
      sums[static_cast<std::size_t>(d - from)] += values[static_cast<std::size_t>(i * stride + d)];
    }
  }
  std::vector<float> mean;
  for (const double sum : sums) mean.push_back(static_cast<float>(sum / static_cast<double>(rows)));
  return mean;
}

// [queries, count / 64]: shares of the first `rows` rows that reach each query's threshold, by the
// first 64, 128, ... coordinates and the tails.
std::vector<double> passing(const std::vector<float>& coordinates, std::int64_t count,
                            std::int64_t rows, std::int64_t queries,
                            const std::vector<float>& thresholds, double length, bool absolute,
                            const Kernel& kernel, Team& team) {
  const std::int64_t steps = count / kStep;
  std::vector<float> products(static_cast<std::size_t>(queries * rows));
  std::vector<double> held(static_cast<std::size_t>(rows));
  std::vector<float> tail(static_cast<std::size_t>(rows));
  std::vector<double> shares(static_cast<std::size_t>(queries * steps));
  for (std::int64_t step = 0; step < steps; ++step) {
    const std::int64_t from = step * kStep;
    add_products(coordinates, rows, coordinates, queries, count, from, from + kStep, kernel, team,
                 products);
    for (std::int64_t j = 0; j < rows; ++j) {
      double& sum = held[static_cast<std::size_t>(j)];
      sum +=
          static_cast<double>(kernel.squared_length(coordinates.data() + j * count + from, kStep));
      tail[static_cast<std::size_t>(j)] =
          static_cast<float>(std::sqrt(std::max(0.0, length - sum)));
    }
    const auto slack = static_cast<float>(
        kCodeSlack * std::accumulate(held.begin(), held.end(), 0.0) / static_cast<double>(rows));
    for (std::int64_t q = 0; q < queries; ++q) {
      const float own = tail[static_cast<std::size_t>(q)];
      const float threshold = thresholds[static_cast<std::size_t>(q)] - slack;
      const float* row = products.data() + q * rows;
      std::int64_t passed = 0;
      for (std::int64_t j = 0; j < rows; ++j) {
        const float product = absolute ? std::abs(row[j]) : row[j];
        passed += product + own * tail[static_cast<std::size_t>(j)] >= threshold && j != q ? 1 : 0;
      }
      shares[static_cast<std::size_t>(q * steps + step)] =
          static_cast<double>(passed) / static_cast<double>(rows);
    }
  }
  return shares;
}

// What a choice of dimensions costs, in cycles a pair.
class Costs {
 public:
  // `shares` as passing() gives them, queries by falling threshold; `rows` are all there are.
  Costs(std::vector<double> shares, std::int64_t queries, double rows, std::int64_t dimensions,
        const Comparison& comparison)
      : shares_(std::move(shares)),
        queries_(queries),
        steps_(static_cast<std::int64_t>(shares_.size()) / queries),
        rows_(rows * comparison.share),
        dimensions_(static_cast<double>(dimensions)),
        comparison_(comparison) {}

  // Sets the shares and the cost of a plan whose dimensions are chosen.
  void rate(FilterPlan& plan) const {
    const double whole = dimensions_ / 64.0 * kGathered + 60.0;
    if (plan.low == 0) {
      plan.cycles = cycles(kWholeCode * dimensions_, dimensions_ / 64.0,
                           either(of_compared(plan.passed_whole)) * whole);
      return;
    }
    const double high = plan.high_share;
    const double both = high * high;
    const std::int64_t split = std::llround(high * static_cast<double>(queries_));
    const auto passed = [&](std::int64_t high_dims, std::int64_t low_dims) {
      // Pairs of two high rows, of two low ones, and mixed.
      const double low = 1.0 - high;
      return both * either(share(high_dims, 0, split)) +
             low * low * either(share(low_dims, split, queries_)) +
             2.0 * high * low *
                 std::min(1.0, share(low_dims, 0, split) + share(low_dims, split, queries_));
    };
    plan.passed_first = passed(plan.high > 0 ? plan.high : plan.low, plan.low);
    const auto high_dims = static_cast<double>(plan.high > 0 ? plan.high : plan.low);
    const auto low_dims = static_cast<double>(plan.low);
    const auto last = static_cast<double>(std::max(plan.low, plan.second));
    double after = 0.0;
    double left = plan.passed_first;
    if (plan.second > 0) {
      plan.passed_second = passed(plan.second, plan.second);
      after += left * (last / 64.0 * kGathered + 20.0);
      left = plan.passed_second;
    }
    plan.cycles =
        cycles(last * dimensions_ / 8.0,  // projection
               both * high_dims / 64.0 + (1.0 - both) * low_dims / 64.0, after + left * whole);
  }

 private:
  // By what is spent on a row before, on a pair in tiles, and on a pair by what passes those.
  double cycles(double row, double tiles, double after) const {
    if (!closest()) return row / rows_ + kSieve + tiles + after;
    // Rows that give first thresholds go through tiles alone, and of those that meet the measured
    // targets few pass. The others are met once a pair.
    const double met = rows_ / 2.0;
    const double all = met + static_cast<double>(comparison_.seeds + comparison_.measured);
    return (row + all * (kSieve + tiles) + met * after) / all;
  }

  static constexpr double kSieve = 0.7;
  static constexpr double kWholeCode = 22.0;  // a dimension of a row that is not projected
  static constexpr double kGathered = 6.0;    // a line of codes that is fetched on its own
  bool closest() const { return comparison_.pairs == FilteredPairs::closest; }
  double either(double share) const {
    return closest() ? share : std::min(1.0, kEither * std::max(share, 0.0));
  }
  // The share that passes of the pairs that are compared, if so large a share of all pairs does.
  // Of the closest pairs, a line through what was found on 1,000,000 and 4,000,000 grown rows:
  // 0.19, 0.33, 0.44 and 0.70 passed filters that let 0.03, 0.27, 0.41 and 0.84 times as many of
  // all pairs pass as are compared.
  double of_compared(double passed) const {
    return std::min(1.0, closest() ? 0.17 + 0.63 * passed / comparison_.share : passed);
  }
  // Mean over queries [begin, end).
  double share(std::int64_t dims, std::int64_t begin, std::int64_t end) const {
    if (begin == end) return 0.0;
    double sum = 0.0;
    for (std::int64_t q = begin; q < end; ++q) {
      sum += shares_[static_cast<std::size_t>(q * steps_ + dims / kStep - 1)];
    }
    return of_compared(sum / static_cast<double>(end - begin));
  }

  const std::vector<double> shares_;
  const std::int64_t queries_;
  const std::int64_t steps_;
  const double rows_;  // that a row is held against
  const double dimensions_;
  const Comparison comparison_;
};

// Queries by falling threshold.
std::vector<double> sorted_by_threshold(const std::vector<double>& shares,
                                        const std::vector<float>& thresholds) {
  std::vector<std::size_t> order(thresholds.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&thresholds](std::size_t a, std::size_t b) {
    return thresholds[a] > thresholds[b];
  });
  const std::size_t steps = shares.size() / thresholds.size();
  std::vector<double> sorted;
  for (const std::size_t q : order) {
    sorted.insert(sorted.end(), shares.begin() + static_cast<std::ptrdiff_t>(q * steps),
                  shares.begin() + static_cast<std::ptrdiff_t>((q + 1) * steps));
  }
  return sorted;
}

// The cheapest plan of all. There is no second filter where few others are met, or the closest
// alone, most of which pass. Those are held against one filter, which is not of whole rows: theirs
// are the longest codes.
void choose_dimensions(const Costs& costs, std::int64_t count, FilteredPairs pairs,
                       FilterPlan& plan) {
  costs.rate(plan);
  const bool is_closest = pairs == FilteredPairs::closest;
  if (is_closest) plan.cycles = std::numeric_limits<double>::infinity();
  const bool is_single = pairs != FilteredPairs::all;
  for (std::int64_t low = kStep; low <= count; low += kStep) {
    for (std::int64_t second = low; second <= (is_single ? low : count); second += kStep) {
      for (std::int64_t high = 0; high < (is_closest ? kStep : low); high += kStep) {
        for (int tenths = high == 0 ? 0 : 1; tenths <= (high == 0 ? 0 : 9); ++tenths) {
          FilterPlan tried;
          tried.passed_whole = plan.passed_whole;
          tried.high_share = tenths / 10.0;
          tried.high = high;
          tried.low = low;
          tried.second = second == low ? 0 : second;
          costs.rate(tried);
          if (tried.cycles >= plan.cycles) continue;
          plan.high_share = tried.high_share;
          plan.high = tried.high;
          plan.low = tried.low;
          plan.second = tried.second;
          plan.passed_first = tried.passed_first;
          plan.passed_second = tried.passed_second;
          plan.cycles = tried.cycles;
        }
      }
    }
  }
}

}  // namespace

float least_product(const Corpus& corpus, float score) noexcept {
  const double total = corpus.total_weight();
  if (total == 1.0) return score;
  const float positive = std::max(score, 0.0F);
  if (total == 2.0) return 2.0F * std::sqrt(positive);
  return static_cast<float>(total * std::pow(static_cast<double>(positive), 1.0 / total));
}

bool is_bounded_by_magnitude(const Corpus& corpus) noexcept {
  return corpus.rules().signed_products && corpus.channels().size() > 1;
}

WeightedRow::WeightedRow(const Corpus& corpus, const std::vector<double>& factors)
    : corpus_(corpus), loaded_(corpus.channels().size()) {
  for (std::size_t c = 0; c < loaded_.size(); ++c) {
    const double factor = factors.empty() ? corpus.channels()[c].weight : factors[c];
    roots_.push_back(static_cast<float>(std::sqrt(factor)));
  }
}

void WeightedRow::read(std::int64_t row, float* out) {
  read_units(row, out);
  weigh(out, out);
}

void WeightedRow::read_units(std::int64_t row, float* out) {
  for (std::size_t c = 0; c < loaded_.size(); ++c) {
    const Rows& rows = corpus_.channels()[c].rows;
    rows.unit(row, out, loaded_[c]);
    out += rows.dimensions();
  }
}

void WeightedRow::weigh(const float* units, float* out) const noexcept {
  std::int64_t i = 0;
  for (std::size_t c = 0; c < loaded_.size(); ++c) {
    const std::int64_t end = i + corpus_.channels()[c].rows.dimensions();
    for (; i < end; ++i) out[i] = units[i] * roots_[c];
  }
}

FilterPlan choose_filters(const Corpus& corpus, std::int64_t k, Team& team,
                          const Comparison& comparison) {
  FilterPlan plan;
  for (const Corpus::Channel& channel : corpus.channels()) plan.factors.push_back(channel.weight);
  plan.length = corpus.total_weight();
  plan.cycles = static_cast<double>(corpus.dimensions()) / 32.0;
  plan.light = comparison.pairs == FilteredPairs::few;
  const std::int64_t candidates = corpus.candidate_rows();
  if (candidates < kLeastRows) return plan;
  const Effort effort = effort_for(candidates, plan.light);
  PlanSample sample = draw_sample(corpus, effort.sample_rows, k);
  const auto rows = static_cast<std::int64_t>(sample.rows.size());
  if (rows < kLeastRows / 2 || sample.queries == 0) return plan;

  read_rows(corpus, unit_factors(corpus), sample.rows, team, sample.values);
  const SampleThresholds estimated = estimate_thresholds(corpus, sample, k, team);
  plan.factors = estimated.factors;
  plan.passed_score = estimated.passed;
  std::int64_t first = 0;
  for (const Corpus::Channel& channel : corpus.channels()) {
    const std::int64_t end = first + channel.rows.dimensions();
    plan.unit_means.push_back(mean_of(sample.values, rows, sample.dimensions, first, end));
    first = end;
  }
  if (plan.factors.size() > 1) {
    plan.length = std::accumulate(plan.factors.begin(), plan.factors.end(), 0.0);
    read_rows(corpus, plan.factors, sample.rows, team, sample.values);
  }
  std::vector<float> thresholds;  // of products, by query
  for (const float score : estimated.score) thresholds.push_back(least_product(corpus, score));

  const Kernel& kernel = corpus.kernel();
  const std::int64_t dimensions = sample.dimensions;
  const bool absolute = is_bounded_by_magnitude(corpus);
  {
    std::vector<float> whole(static_cast<std::size_t>(sample.queries * rows));
    add_products(sample.values, rows, sample.values, sample.queries, dimensions, 0, dimensions,
                 kernel, team, whole);
    std::int64_t passed = 0;
    for (std::int64_t q = 0; q < sample.queries; ++q) {
      for (std::int64_t j = 0; j < rows; ++j) {
        const float product = whole[static_cast<std::size_t>(q * rows + j)];
        passed +=
            (absolute ? std::abs(product) : product) >= thresholds[static_cast<std::size_t>(q)] &&
            j != q;
      }
    }
    plan.passed_whole = static_cast<double>(passed) / static_cast<double>(sample.queries * rows);
  }
  const std::int64_t count = std::min(effort.dimensions, dimensions / kStep * kStep);
  if (count == 0) {
    plan.mean = mean_of(sample.values, rows, dimensions, 0, dimensions);
    return plan;
  }
  // A basis fits the rows that it was taken from better than others. So it is taken from the last
  // rows and rated by the first, which are the queries and some more.
  const std::int64_t basis_rows = std::min(effort.basis_rows, rows / 4 * 3);
  const std::int64_t rated = rows - basis_rows;
  Basis basis = principal_basis(sample.values.data() + rated * dimensions, basis_rows, dimensions,
                                count, kernel, team);
  if (!plan.light) {
    plan.leading.count = std::min(kLeading, count);
    plan.leading.dimensions = dimensions;
    plan.leading.vectors.assign(basis.vectors.begin(),
                                basis.vectors.begin() + plan.leading.count * dimensions);
  }
  const std::vector<double> shares =
      sorted_by_threshold(passing(coordinates(sample, basis, kernel, team), count, rated,
                                  sample.queries, thresholds, plan.length, absolute, kernel, team),
                          thresholds);
  // Rows that each is held against, about: with queries the harmonic mean of both kinds.
  const auto queries = static_cast<double>(corpus.queries());
  const auto others = static_cast<double>(candidates);
  const double met = queries > 0.0 ? 2.0 * queries * others / (queries + others) : others;
  const Costs costs(shares, sample.queries, met, dimensions, comparison);
  choose_dimensions(costs, count, comparison.pairs, plan);
  if (plan.low > 0) {
    plan.basis = std::move(basis);
    plan.basis.count = std::max(plan.low, plan.second);
    plan.basis.vectors.resize(static_cast<std::size_t>(plan.basis.count * dimensions));
    measure_excess(plan.basis, kernel, team);
    plan.mean = mean_of(coordinates(sample, plan.basis, kernel, team), rows, plan.basis.count, 0,
                        plan.basis.count);
  } else {
    plan.mean = mean_of(sample.values, rows, dimensions, 0, dimensions);
  }
  return plan;
}

}  // namespace helip::mining
