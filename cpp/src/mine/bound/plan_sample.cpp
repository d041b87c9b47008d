#include "mine/bound/plan_sample.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "mine/bound/filter_plan.h"
#include "mine/corpus/corpus.h"
#include "mine/kernel/product_panels.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kQueries = 256;
constexpr std::uint64_t kPlanStream = 0x6669'6c74'6572ULL;
// Of a large data set so many rows are looked at for thresholds that one of them is in each pool:
// one of k, but at most one of this many.
constexpr std::int64_t kLeastStride = 20;

// A row that counts for a query.
struct Reached {
  float score;
  std::array<float, kMostChannels> similarities;
};

// The `rank` best rows of each query among all that were added.
class BestOfQueries {
 public:
  BestOfQueries(const Corpus& corpus, const PlanSample& sample, std::int64_t rank)
      : corpus_(corpus),
        sample_(sample),
        rank_(rank),
        best_(static_cast<std::size_t>(sample.queries)) {}

  // `values` [rows, dimensions]; the first of them are the queries if `own`.
  void add(const std::vector<float>& values, bool own, Team& team) {
    const auto& channels = corpus_.channels();
    const std::int64_t queries = sample_.queries;
    const std::int64_t dimensions = sample_.dimensions;
    const auto rows = static_cast<std::int64_t>(values.size()) / dimensions;
    std::vector<std::vector<float>> products;
    std::int64_t first = 0;
    for (const Corpus::Channel& channel : channels) {
      const std::int64_t end = first + channel.rows.dimensions();
      products.emplace_back(static_cast<std::size_t>(queries * rows), 0.0F);
      add_products(values, rows, sample_.values, queries, dimensions, first, end, corpus_.kernel(),
                   team, products.back());
      first = end;
    }
    ChannelSimilarities similarities;
    std::vector<Reached> reached;  // of one query at a time, many of which few are kept
    for (std::int64_t q = 0; q < queries; ++q) {
      std::vector<Reached>& best = best_[static_cast<std::size_t>(q)];
      reached.assign(best.begin(), best.end());
      for (std::int64_t j = 0; j < rows; ++j) {
        const auto at = static_cast<std::size_t>(q * rows + j);
        if (own && (j == q || (corpus_.queries() > 0 && j < queries))) continue;
        Reached row{};
        for (std::size_t c = 0; c < channels.size(); ++c) {
          row.similarities[c] = products[c][at];
          similarities[c] = products[c][at];
        }
        const Evaluation evaluated = corpus_.evaluate(similarities);
        if (evaluated.target == Verdict::kept && evaluated.score > corpus_.rules().min_score) {
          row.score = static_cast<float>(evaluated.score);
          reached.push_back(row);
        }
      }
      if (static_cast<std::int64_t>(reached.size()) > rank_) {
        std::nth_element(reached.begin(), reached.begin() + (rank_ - 1), reached.end(),
                         [](const Reached& a, const Reached& b) { return a.score > b.score; });
        reached.resize(static_cast<std::size_t>(rank_));
      }
      best.assign(reached.begin(), reached.end());
    }
  }

  // At most `rank` of each query.
  const std::vector<std::vector<Reached>>& best() const { return best_; }

 private:
  const Corpus& corpus_;
  const PlanSample& sample_;
  const std::int64_t rank_;
  std::vector<std::vector<Reached>> best_;
};

}  // namespace

PlanSample draw_sample(const Corpus& corpus, std::int64_t most, std::int64_t k) {
  PlanSample sample;
  sample.dimensions = corpus.dimensions();
  const std::int64_t queries = corpus.queries();
  const std::int64_t rows = corpus.candidate_rows();
  for (const std::uint32_t row : draw_rows(queries, std::min(kQueries, queries), 0, kPlanStream)) {
    if (!corpus.is_zero(row)) sample.rows.push_back(row);
  }
  sample.queries = static_cast<std::int64_t>(sample.rows.size());
  const std::int64_t all = std::min(rows, std::max(most, rows / std::max(k, kLeastStride)));
  std::vector<std::uint32_t> drawn;
  std::int64_t before = 0;
  for (const std::uint32_t place : draw_rows(rows, all, 0, kPlanStream)) {
    const auto row = static_cast<std::uint32_t>(queries + place);
    // `most` of them, spread evenly.
    if ((before + 1) * most / all > before * most / all) {
      drawn.push_back(row);
    } else if (!corpus.is_zero(row)) {
      sample.more.push_back(row);
    }
    ++before;
  }
  // Queries are spread over the data set: its order may mean something.
  const auto count = static_cast<std::int64_t>(drawn.size());
  const std::int64_t stride = std::max<std::int64_t>(1, count / kQueries);
  for (std::int64_t offset = 0; offset < stride; ++offset) {
    for (std::int64_t i = offset; i < count; i += stride) {
      if (!corpus.is_zero(drawn[static_cast<std::size_t>(i)])) {
        sample.rows.push_back(drawn[static_cast<std::size_t>(i)]);
      }
    }
  }
  if (queries == 0) {
    sample.queries = std::min(kQueries, static_cast<std::int64_t>(sample.rows.size()));
  }
  return sample;
}

std::vector<double> unit_factors(const Corpus& corpus) {
  return std::vector<double>(corpus.channels().size(), 1.0);
}

void read_rows(const Corpus& corpus, const std::vector<double>& factors,
               std::span<const std::uint32_t> rows, Team& team, std::vector<float>& out) {
  const std::int64_t dimensions = corpus.dimensions();
  out.resize(rows.size() * static_cast<std::size_t>(dimensions));
  team.for_blocks(static_cast<std::int64_t>(rows.size()), 64,
                  [&](std::int64_t begin, std::int64_t end, int) {
                    WeightedRow reader(corpus, factors);
                    for (std::int64_t i = begin; i < end; ++i) {
                      reader.read(rows[static_cast<std::size_t>(i)], out.data() + i * dimensions);
                    }
                  });
}

void add_products(const std::vector<float>& values, std::int64_t rows,
                  const std::vector<float>& others, std::int64_t queries, std::int64_t stride,
                  std::int64_t from, std::int64_t to, const Kernel& kernel, Team& team,
                  std::vector<float>& out) {
  const std::int64_t depth = to - from;
  std::vector<float> left(static_cast<std::size_t>(queries * depth));
  for (std::int64_t q = 0; q < queries; ++q) {
    std::copy_n(others.begin() + q * stride + from, depth, left.begin() + q * depth);
  }
  const ProductPanels panels(left.data(), queries, depth, kernel);
  team.for_blocks(
      (rows + kProductRows - 1) / kProductRows, 1, [&](std::int64_t block, std::int64_t, int) {
        std::vector<float> some(static_cast<std::size_t>(kProductRows * depth));
        PackedRows packed(depth, kernel);
        std::vector<float> products(static_cast<std::size_t>(kProductRows * panels.padded()));
        const std::int64_t first = block * kProductRows;
        const std::int64_t present = std::min(kProductRows, rows - first);
        for (std::int64_t r = 0; r < present; ++r) {
          std::copy_n(values.begin() + (first + r) * stride + from, depth,
                      some.begin() + r * depth);
        }
        packed.pack(some.data(), present);
        panels.multiply(packed.data(), packed.tiles(), products.data());
        for (std::int64_t q = 0; q < queries; ++q) {
          float* sums = out.data() + q * rows + first;
          for (std::int64_t r = 0; r < present; ++r) {
            sums[r] += products[static_cast<std::size_t>(r * panels.padded() + q)];
          }
        }
      });
}

SampleThresholds estimate_thresholds(const Corpus& corpus, const PlanSample& sample, std::int64_t k,
                                     Team& team) {
  const Rules& rules = corpus.rules();
  // The k-th of all rows is about the rank-th of those that are looked at.
  const std::int64_t queries = corpus.queries() > 0 ? sample.queries : 0;  // that are no candidates
  const auto looked_at =
      static_cast<std::int64_t>(sample.rows.size() + sample.more.size()) - queries;
  const auto share = static_cast<double>(looked_at) / static_cast<double>(corpus.candidate_rows());
  const auto rank =
      std::clamp<std::int64_t>(std::llround(static_cast<double>(k) * share), 1, looked_at);
  BestOfQueries reached(corpus, sample, rank);
  reached.add(sample.values, true, team);
  std::vector<float> values;
  for (std::size_t first = 0; first < sample.more.size(); first += sample.rows.size()) {
    const std::size_t size = std::min(sample.rows.size(), sample.more.size() - first);
    read_rows(corpus, unit_factors(corpus), std::span(sample.more).subspan(first, size), team,
              values);
    reached.add(values, false, team);
  }

  SampleThresholds thresholds;
  const auto& channels = corpus.channels();
  // Of each channel's similarity to the first's, where a threshold lies.
  std::vector<std::vector<double>> ratios(channels.size());
  std::size_t passed = 0;
  for (const std::vector<Reached>& best : reached.best()) {
    passed += best.size();
    if (static_cast<std::int64_t>(best.size()) < rank) {
      thresholds.score.push_back(static_cast<float>(rules.min_score));
      continue;
    }
    const Reached& last =
        *std::min_element(best.begin(), best.end(),
                          [](const Reached& a, const Reached& b) { return a.score < b.score; });
    thresholds.score.push_back(last.score);
    for (std::size_t c = 1; c < channels.size(); ++c) {
      ratios[c].push_back(std::abs(last.similarities[c]) /
                          std::max(1e-6, std::abs(static_cast<double>(last.similarities[0]))));
    }
  }
  thresholds.passed = static_cast<double>(passed) / static_cast<double>(sample.queries * looked_at);
  // The means are alike where all l_c s_c are, with Π l_c^w_c = 1.
  std::vector<double> logs(channels.size(), 0.0);  // of the median ratios
  double mean = 0.0;
  for (std::size_t c = 1; c < channels.size() && !ratios[c].empty(); ++c) {
    const auto median = ratios[c].begin() + static_cast<std::ptrdiff_t>(ratios[c].size()) / 2;
    std::nth_element(ratios[c].begin(), median, ratios[c].end());
    logs[c] = std::log(std::max(*median, 1e-6));
    mean += channels[c].weight / corpus.total_weight() * logs[c];
  }
  double off = 0.0;  // from a product of 1, by limits
  for (std::size_t c = 0; c < channels.size(); ++c) {
    logs[c] = rules.sum ? 0.0 : std::clamp(mean - logs[c], -std::log(4.0), std::log(4.0));
    off += channels[c].weight / corpus.total_weight() * logs[c];
  }
  for (std::size_t c = 0; c < channels.size(); ++c) {
    thresholds.factors.push_back(channels[c].weight * std::exp(logs[c] - off));
  }
  return thresholds;
}

}  // namespace helip::mining
