// What the filters compute with is sound: no bound of a pair lies below the truth.
#include "mine/bound/codes.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "support/bound_cases.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

// The order that rows are in.
RowOrder plain_order(const Corpus& corpus) {
  RowOrder order;
  for (std::int64_t row = 0; row < corpus.size(); ++row) {
    if (!corpus.is_zero(row)) order.rows.push_back(static_cast<std::uint32_t>(row));
  }
  order.begins = {0, static_cast<std::int64_t>(order.rows.size())};
  return order;
}

// Of two channels, or of one.
std::vector<double> factors_of(const Corpus& corpus, double weight) {
  return corpus.channels().size() == 1 ? std::vector{1.0} : std::vector{weight, 1.0 / weight};
}

// Some rows as the filters see them.
std::vector<float> weighted_sample(const Corpus& corpus, double weight, std::int64_t rows) {
  WeightedRow reader(corpus, factors_of(corpus, weight));
  std::vector<float> sample(static_cast<std::size_t>(rows * corpus.dimensions()));
  for (std::int64_t i = 0; i < rows; ++i) {
    reader.read(i, sample.data() + i * corpus.dimensions());
  }
  return sample;
}

std::vector<float> mean_of(const std::vector<float>& values, std::int64_t rows, std::int64_t stride,
                           std::int64_t from, std::int64_t to) {
  std::vector<float> mean;
  for (std::int64_t d = from; d < to; ++d) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < rows; ++i) sum += values[static_cast<std::size_t>(i * stride + d)];
    mean.push_back(static_cast<float>(sum / static_cast<double>(rows)));
  }
  return mean;
}

FilterPlan plain_plan(const Corpus& corpus, double weight) {
  FilterPlan plan;
  plan.factors = factors_of(corpus, weight);
  plan.length = std::accumulate(plan.factors.begin(), plan.factors.end(), 0.0);
  return plan;
}

void set_means(const Corpus& corpus, const std::vector<float>& sample, std::int64_t rows,
               FilterPlan& plan) {
  const std::int64_t dims = corpus.dimensions();
  plan.mean = mean_of(sample, rows, dims, 0, dims);
  const auto units = weighted_sample(corpus, 1.0, rows);
  plan.unit_means.clear();
  std::int64_t first = 0;
  for (const Corpus::Channel& channel : corpus.channels()) {
    const std::int64_t end = first + channel.rows.dimensions();
    plan.unit_means.push_back(mean_of(units, rows, dims, first, end));
    first = end;
  }
}

// Leading dimensions high, low and second; `dilate`: a basis that is longer than 1.
FilterPlan basis_plan(const Corpus& corpus, double weight, std::int64_t high, std::int64_t low,
                      std::int64_t second, bool with_mean, double dilate, Team& team) {
  FilterPlan plan = plain_plan(corpus, weight);
  plan.high_share = high > 0 ? 0.5 : 0.0;
  plan.high = high;
  plan.low = low;
  plan.second = second;
  const std::int64_t rows = std::min<std::int64_t>(corpus.size(), 200);
  const auto sample = weighted_sample(corpus, plan.factors[0], rows);
  plan.basis = principal_basis(sample.data(), rows, corpus.dimensions(), std::max(low, second),
                               corpus.kernel(), team);
  for (float& value : plan.basis.vectors) value *= static_cast<float>(dilate);
  measure_excess(plan.basis, corpus.kernel(), team);
  if (with_mean) {
    set_means(corpus, sample, rows, plan);
    plan.mean.clear();
    for (std::int64_t b = 0; b < plan.basis.count; ++b) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t d = 0; d < corpus.dimensions(); ++d) {
          sum +=
              static_cast<double>(sample[static_cast<std::size_t>(i * corpus.dimensions() + d)]) *
              plan.basis.vectors[static_cast<std::size_t>(b * corpus.dimensions() + d)];
        }
      }
      plan.mean.push_back(static_cast<float>(sum / static_cast<double>(rows)));
    }
  }
  return plan;
}

std::int64_t plain_product(const std::int8_t* a, const std::int8_t* b, std::int64_t depth) {
  std::int64_t sum = 0;
  for (std::int64_t k = 0; k < depth; ++k) sum += a[k] * b[k];
  return sum;
}

// The fine codes of a row, in 4 bits each behind its coarse ones.
std::vector<std::int8_t> fine_codes(const std::int8_t* coarse, std::int64_t depth) {
  std::vector<std::int8_t> codes;
  for (std::int64_t k = 0; k < depth; ++k) {
    const auto byte = static_cast<std::uint8_t>(coarse[depth + k / 128 * 64 + k % 64]);
    codes.push_back(static_cast<std::int8_t>((k % 128 < 64 ? byte & 15 : byte >> 4) - 8));
  }
  return codes;
}

class Checker {
 public:
  Checker(const Case& data, const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
          const Codes& codes)
      : corpus_(corpus), plan_(plan), order_(order), codes_(codes) {
    if (corpus.image() != nullptr) image_ = PlainRows(data.data.image.view());
    if (corpus.text() != nullptr) text_ = PlainRows(data.data.text.view());
  }

  // Of the bounds' excess over the truth, as shares of |w|², the mean: filters must not only be
  // sound.
  double mean_excess(Codes::Filter filter) const {
    return pairs_ == 0 ? 0.0 : excess_[filter] / static_cast<double>(pairs_);
  }

  void check_limits() const {
    std::int64_t wrong = 0;
    const auto aligned = [](const std::int8_t* row) {
      return reinterpret_cast<std::uintptr_t>(row) % 64 == 0;
    };
    for (std::int64_t place = 0; place < codes_.size(); ++place) {
      for (const auto filter : {Codes::kHigh, Codes::kLow, Codes::kSecond}) {
        const std::int64_t depth = codes_.depth(filter);
        if (depth == 0) continue;
        const CodeLimits limits =
            filter == Codes::kSecond ? CodeLimits{127, 0.0, 0} : corpus_.kernel().limits;
        const std::int8_t* row = codes_.codes(filter, place);
        std::int32_t sum = 0, largest = 0;
        double norm = 0.0;
        for (std::int64_t begin = 0; begin < depth; begin += kCodeChunk) {
          std::int32_t squares = 0;
          for (std::int64_t k = begin; k < std::min(depth, begin + kCodeChunk); ++k) {
            largest = std::max(largest, std::abs(static_cast<int>(row[k])));
            squares += row[k] * row[k];
            sum += row[k];
          }
          norm = std::max(norm, std::sqrt(static_cast<double>(squares)));
        }
        const bool keeps =
            largest <= limits.largest && (limits.chunk_norm == 0.0 || norm <= limits.chunk_norm);
        wrong += keeps && aligned(row) && codes_.bounds(filter, place).sum == sum ? 0 : 1;
      }
      for (int c = 0; c < codes_.channels(); ++c) {
        const std::int64_t depth = codes_.unit_depth(c);
        const std::int8_t* row = codes_.unit(c, place);
        const bool sums = codes_.unit_bounds(c, place).sum == std::accumulate(row, row + depth, 0);
        wrong += aligned(row) && *std::min_element(row, row + depth) >= -127 && sums ? 0 : 1;
      }
    }
    REQUIRE(wrong == 0);
  }

  void check_pair(std::int64_t a, std::int64_t b) {
    const std::int64_t left = order_.rows[static_cast<std::size_t>(a)];
    const std::int64_t right = order_.rows[static_cast<std::size_t>(b)];
    double sum = 0.0;
    int channel = 0;
    for (const auto* rows : {&image_, &text_}) {
      if (rows->size() == 0) continue;
      const double cosine = rows->cosine(left, right);
      sum += plan_.factors[static_cast<std::size_t>(channel)] * cosine;
      check_unit(a, b, channel++, cosine);
    }
    for (const auto filter : {Codes::kHigh, Codes::kLow, Codes::kSecond}) {
      if (codes_.depth(filter) > 0) check_filter(a, b, filter, sum);
    }
    ++pairs_;
  }

 private:
  void check_filter(std::int64_t a, std::int64_t b, Codes::Filter filter, double truth) {
    const FilterBounds& left = codes_.bounds(filter, a);
    const FilterBounds& right = codes_.bounds(filter, b);
    const auto product = static_cast<double>(
        plain_product(codes_.codes(filter, a), codes_.codes(filter, b), codes_.depth(filter)));
    const double middle = product + left.offset + right.offset;
    const double around = static_cast<double>(left.tail) * right.tail + left.slack + right.slack;
    const double exact = truth * codes_.factor(filter);
    // Compared in float32: an infinity less an infinity would be no bound.
    const bool finite = std::isfinite(left.offset) && std::isfinite(left.tail) &&
                        std::isfinite(left.slack) &&
                        std::isfinite(static_cast<float>(codes_.factor(filter)));
    excess_[filter] += (middle + around - exact) / codes_.factor(filter) / plan_.length;
    if (finite && middle + around >= exact && middle - around <= exact) return;
    INFO("places " << a << " and " << b << ", filter " << filter << ": " << exact << " is not "
                   << middle << " +- " << around);
    REQUIRE(false);
  }

  // In float32, as it is computed.
  void check_unit(std::int64_t a, std::int64_t b, int channel, double truth) const {
    const std::int64_t depth = codes_.unit_depth(channel);
    const UnitBounds& left = codes_.unit_bounds(channel, a);
    const UnitBounds& right = codes_.unit_bounds(channel, b);
    const std::int8_t* own = codes_.unit(channel, a);
    const std::int8_t* other = codes_.unit(channel, b);
    auto product = static_cast<float>(plain_product(own, other, depth));
    const float coarse = left.scale * right.scale * product + left.offset + right.offset;
    if (!codes_.has_fine()) {
      REQUIRE(std::abs(truth - coarse) <= left.error + right.error);
      return;
    }
    const auto own_fine = fine_codes(own, depth), other_fine = fine_codes(other, depth);
    product += static_cast<float>(plain_product(own, other_fine.data(), depth) +
                                  plain_product(own_fine.data(), other, depth)) /
               kFineSteps;
    const float fine = left.scale * right.scale * product + left.offset + right.offset;
    const float error = left.error + right.error;
    const float fine_error = left.fine_error + right.fine_error;
    if (std::abs(truth - coarse) <= error && std::abs(truth - fine) <= fine_error) return;
    INFO("places " << a << " and " << b << ", channel " << channel << ": " << truth << " is not "
                   << coarse << " +- " << error << " or not " << fine << " +- " << fine_error);
    REQUIRE(false);
  }

  const Corpus& corpus_;
  const FilterPlan& plan_;
  const RowOrder& order_;
  const Codes& codes_;
  PlainRows image_, text_;
  double excess_[3] = {0.0, 0.0, 0.0};
  std::int64_t pairs_ = 0;
};

// Bounds of some hundred pairs, among them each row with its neighbours.
Checker check_codes(const Case& data, const Corpus& corpus, const FilterPlan& plan, Team& team,
                    const std::filesystem::path& folder = {}) {
  const RowOrder order = plain_order(corpus);
  const Codes codes(corpus, plan, order, folder, team);
  REQUIRE(codes.size() == static_cast<std::int64_t>(order.rows.size()));
  Checker checker(data, corpus, plan, order, codes);
  checker.check_limits();
  std::mt19937_64 random(21);
  const auto size = static_cast<std::uint64_t>(codes.size());
  for (int i = 0; i < 300; ++i) {
    checker.check_pair(static_cast<std::int64_t>(random() % size),
                       static_cast<std::int64_t>(random() % size));
  }
  for (std::int64_t i = 0; i + 17 < codes.size() && i < 60; ++i) {
    checker.check_pair(i, i + 1);
    checker.check_pair(i, i + 17);
    checker.check_pair(i, i);
  }
  return checker;
}

}  // namespace

TEST_CASE("bounds by whole rows hold for every kind of data and every kernel", "[codes]") {
  SilentTeam silent;
  for (const Case& data : cases(300, 70, 40)) {
    for (const Kernel* kernel : available_kernels()) {
      Corpus corpus(data.data.image.view(), data.data.text.view(), data.rules, *kernel);
      corpus.measure(silent.team);
      for (const double weight : {1.0, 0.25, 3.3}) {
        INFO(data.name << ", " << kernel->name << ", weight " << weight);
        FilterPlan plan = plain_plan(corpus, weight);
        check_codes(data, corpus, plan, silent.team);
        set_means(corpus, weighted_sample(corpus, plan.factors[0], 100), 100, plan);
        const Checker checker = check_codes(data, corpus, plan, silent.team);
        if (data.name == "clustered") {
          REQUIRE(checker.mean_excess(Codes::kLow) < 0.1);
        }
      }
    }
  }
}

TEST_CASE("bounds by leading dimensions hold for every kind of data and every kernel", "[codes]") {
  SilentTeam silent;
  for (const Case& data : cases(260, 150, 130)) {
    for (const Kernel* kernel : available_kernels()) {
      Corpus corpus(data.data.image.view(), data.data.text.view(), data.rules, *kernel);
      corpus.measure(silent.team);
      INFO(data.name << ", " << kernel->name);
      const bool one = corpus.dimensions() < 192;
      check_codes(data, corpus,
                  basis_plan(corpus, 1.5, 0, 64, one ? 128 : 192, true, 1.0, silent.team),
                  silent.team);
      check_codes(data, corpus, basis_plan(corpus, 0.7, 64, 128, 0, false, 1.0, silent.team),
                  silent.team);
      if (one) continue;
      check_codes(data, corpus, basis_plan(corpus, 1.0, 64, 128, 192, true, 1.03, silent.team),
                  silent.team);
    }
  }
}

TEST_CASE("a basis that is much too long only loosens the bounds", "[codes]") {
  SilentTeam silent;
  for (const Case& data : cases(200, 100, 60)) {
    Corpus corpus(data.data.image.view(), data.data.text.view(), data.rules, *kernel_portable());
    corpus.measure(silent.team);
    if (corpus.dimensions() < 128) continue;
    INFO(data.name);
    for (const double dilate : {0.5, 1.4}) {
      check_codes(data, corpus, basis_plan(corpus, 1.0, 0, 64, 128, true, dilate, silent.team),
                  silent.team);
    }
  }
}

TEST_CASE("a mean that has nothing to do with the rows only loosens the bounds", "[codes]") {
  SilentTeam silent;
  for (const Case& data : cases(200, 70, 40)) {
    INFO(data.name);
    Corpus corpus(data.data.image.view(), data.data.text.view(), data.rules, *kernel_portable());
    corpus.measure(silent.team);
    FilterPlan plan = plain_plan(corpus, 1.0);
    set_means(corpus, weighted_sample(corpus, 1.0, 100), 100, plan);
    for (auto* mean : {&plan.mean, &plan.unit_means.front(), &plan.unit_means.back()}) {
      for (std::size_t i = 0; i < mean->size(); ++i) (*mean)[i] = i % 3 == 0 ? 0.2F : -0.1F;
    }
    check_codes(data, corpus, plan, silent.team);
  }
}

TEST_CASE("bounds hold for a row far beyond those that the scale was taken from", "[codes]") {
  SilentTeam silent;
  const std::int64_t rows = 1500;
  std::int64_t drawn_in = 0;
  for (const std::int64_t position : {3, 250, 251, 252, 700, 900, 1400}) {
    // All lie close to a mean that the one row is opposite to.
    auto image = anisotropic_values(rows, 300, 20.0, 1);
    auto text = anisotropic_values(rows, 90, 20.0, 2);
    for (auto [values, dim] : {std::pair(&image, 300), std::pair(&text, 90)}) {
      for (std::int64_t d = 0; d < dim; ++d) {
        (*values)[static_cast<std::size_t>(position * dim + d)] *= -1.0;
      }
    }
    const Case data{"opposite row", {floats(image, rows), floats(text, rows)}, {}};
    for (const Kernel* kernel : available_kernels()) {
      INFO("row " << position << ", " << kernel->name);
      Corpus corpus(data.data.image.view(), data.data.text.view(), {}, *kernel);
      corpus.measure(silent.team);
      FilterPlan plan = plain_plan(corpus, 1.0);
      set_means(corpus, weighted_sample(corpus, 1.0, 200), 200, plan);
      const RowOrder order = plain_order(corpus);
      const Codes codes(corpus, plan, order, {}, silent.team);
      Checker checker(data, corpus, plan, order, codes);
      checker.check_limits();
      for (std::int64_t i = 0; i < rows; i += 5) checker.check_pair(position, i);
      checker.check_pair(position, position);
      const auto slack = [&](std::int64_t place) { return codes.bounds(Codes::kLow, place).slack; };
      drawn_in += slack(position) > 10.0F * slack(position == 3 ? 4 : 3) ? 1 : 0;
    }
  }
  REQUIRE(drawn_in > 0);
}

TEST_CASE("bounds hold for rows a little beyond those that the scale was taken from", "[codes]") {
  SilentTeam silent;
  const std::int64_t rows = 3500;
  bool shortened = false;
  for (const std::int64_t position : {3, 800, 1500, 2300, 3100}) {
    // Two equal rows that lie a third further off the mean than all others do.
    const auto values = [&](std::int64_t dim, unsigned seed) {
      auto all = clustered_values(rows, dim, 1, 20.0, seed);
      const auto mean = clustered_values(1, dim, 1, 0.0, seed + 1);
      for (std::int64_t i = 0; i < rows; ++i) {
        const double stretch = i == position ? 1.33 : 1.0;
        for (std::int64_t d = 0; d < dim; ++d) {
          double& value = all[static_cast<std::size_t>(i * dim + d)];
          value = stretch * value + 200.0 * mean[static_cast<std::size_t>(d)];
        }
      }
      std::copy_n(all.begin() + position * dim, dim, all.begin() + (position + 1) * dim);
      return all;
    };
    const Case data{"", {floats(values(300, 1), rows), floats(values(200, 2), rows)}, {}};
    for (const Kernel* kernel : available_kernels()) {
      INFO("row " << position << ", " << kernel->name);
      Corpus corpus(data.data.image.view(), data.data.text.view(), {}, *kernel);
      corpus.measure(silent.team);
      FilterPlan plan = plain_plan(corpus, 1.0);
      set_means(corpus, weighted_sample(corpus, 1.0, 200), 200, plan);
      const RowOrder order = plain_order(corpus);
      const Codes codes(corpus, plan, order, {}, silent.team);
      Checker checker(data, corpus, plan, order, codes);
      checker.check_limits();
      for (std::int64_t i = 0; i < rows; i += 25) checker.check_pair(position, i);
      checker.check_pair(position, position);
      checker.check_pair(position, position + 1);
      const auto slack = [&](std::int64_t place) { return codes.bounds(Codes::kLow, place).slack; };
      shortened = shortened || slack(position) > 3.0F * slack(position + 2);
    }
  }
  bool limited = false;
  for (const Kernel* kernel : available_kernels()) {
    limited = limited || kernel->limits.chunk_norm > 0.0;
  }
  REQUIRE(shortened == limited);
}

TEST_CASE("bounds of the plan that a data set's sample suggests hold", "[codes]") {
  SilentTeam silent;
  for (const Case& data : cases(2100, 120, 90)) {
    for (const Kernel* kernel : available_kernels()) {
      INFO(data.name << ", " << kernel->name);
      Corpus corpus(data.data.image.view(), data.data.text.view(), data.rules, *kernel);
      corpus.measure(silent.team);
      for (const FilteredPairs held : {FilteredPairs::all, FilteredPairs::few}) {
        const FilterPlan plan =
            choose_filters(corpus, 20, silent.team, {held, held == FilteredPairs::few ? 0.1 : 1.0});
        REQUIRE(plan.light == (held == FilteredPairs::few));
        REQUIRE(plan.low % 64 == 0);
        REQUIRE((plan.second == 0 || plan.second > plan.low));
        REQUIRE(plan.high <= plan.low);
        for (const double factor : plan.factors) REQUIRE(std::isfinite(factor));
        check_codes(data, corpus, plan, silent.team);
      }
    }
  }
}

TEST_CASE("codes on disk are those in memory", "[codes]") {
  SilentTeam one(1), three(3);
  const TemporaryFolder folder;
  const Case data = cases(500, 70, 90)[1];
  Corpus corpus(data.data.image.view(), data.data.text.view(), data.rules, select_kernel());
  corpus.measure(one.team);
  const FilterPlan plan = basis_plan(corpus, 1.2, 0, 64, 128, true, 1.0, one.team);
  const RowOrder order = plain_order(corpus);
  const Codes memory(corpus, plan, order, {}, one.team);
  const Codes disk(corpus, plan, order, folder / "", three.team);
  for (std::int64_t place = 0; place < memory.size(); ++place) {
    const auto same = [&](const std::int8_t* a, const std::int8_t* b, std::int64_t depth) {
      return std::equal(a, a + depth, b);
    };
    const auto same_bounds = [](const auto& a, const auto& b) {
      return std::memcmp(&a, &b, sizeof a) == 0;
    };
    for (const auto filter : {Codes::kHigh, Codes::kLow, Codes::kSecond}) {
      REQUIRE(memory.depth(filter) == disk.depth(filter));
      if (memory.depth(filter) == 0) continue;
      REQUIRE(same_bounds(memory.bounds(filter, place), disk.bounds(filter, place)));
      REQUIRE(same(memory.codes(filter, place), disk.codes(filter, place), disk.depth(filter)));
    }
    for (int c = 0; c < 2; ++c) {
      REQUIRE(same_bounds(memory.unit_bounds(c, place), disk.unit_bounds(c, place)));
      REQUIRE(same(memory.unit(c, place), disk.unit(c, place), disk.unit_depth(c) / 2 * 3));
    }
  }
}

TEST_CASE("rows in another order have the same codes in that order", "[codes]") {
  SilentTeam silent;
  const Case data = cases(300, 40, 30)[2];
  Corpus corpus(data.data.image.view(), data.data.text.view(), data.rules, select_kernel());
  corpus.measure(silent.team);
  FilterPlan plan = plain_plan(corpus, 1.0);
  RowOrder order = plain_order(corpus);
  std::mt19937 random(3);
  std::shuffle(order.rows.begin(), order.rows.end(), random);
  const Codes codes(corpus, plan, order, {}, silent.team);
  Checker checker(data, corpus, plan, order, codes);
  checker.check_limits();
  for (std::int64_t i = 0; i + 1 < codes.size(); ++i) checker.check_pair(i, i + 1);
}

TEST_CASE("a data set of zero rows has no codes", "[codes]") {
  SilentTeam silent;
  const std::vector<double> zeros(30 * 8, 0.0);
  const Data data{floats(zeros, 30), floats(zeros, 30)};
  Corpus corpus(data.image.view(), data.text.view(), {}, select_kernel());
  corpus.measure(silent.team);
  const FilterPlan plan = plain_plan(corpus, 1.0);
  const Codes codes(corpus, plan, plain_order(corpus), {}, silent.team);
  REQUIRE(codes.size() == 0);
  REQUIRE(Codes::bytes_per_row(corpus, plan) > 0);
}
