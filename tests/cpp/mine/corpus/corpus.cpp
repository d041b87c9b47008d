// Rows that are drawn: each once, and every subset as likely as another. Scores of any number of
// channels, which are mined as a plain float64 search does it.
#include "mine/corpus/corpus.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "helip/mine.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::testing;
using namespace helip::mining;

TEST_CASE("a draw has as many rows as were asked for, ascending and each once", "[corpus]") {
  for (const std::int64_t count : {0, 1, 7, 99, 100}) {
    const auto rows = draw_rows(100, count, 3, 1);
    REQUIRE(static_cast<std::int64_t>(rows.size()) == count);
    REQUIRE(std::is_sorted(rows.begin(), rows.end()));
    REQUIRE(std::adjacent_find(rows.begin(), rows.end()) == rows.end());
    REQUIRE((rows.empty() || rows.back() < 100));
  }
}

TEST_CASE("a draw depends on its seed and its stream alone", "[corpus]") {
  REQUIRE(draw_rows(1000, 50, 3, 1) == draw_rows(1000, 50, 3, 1));
  REQUIRE(draw_rows(1000, 50, 3, 1) != draw_rows(1000, 50, 3, 2));
  REQUIRE(draw_rows(1000, 50, 3, 1) != draw_rows(1000, 50, 4, 1));
}

TEST_CASE("draws are those that tables were made of before", "[corpus]") {
  REQUIRE(draw_rows(1000, 6, 0, 0) == std::vector<std::uint32_t>{200, 398, 537, 580, 782, 806});
}

TEST_CASE("each row is drawn as often as another", "[corpus]") {
  std::vector<int> drawn(40);
  for (std::uint64_t stream = 0; stream < 4000; ++stream) {
    for (const std::uint32_t row : draw_rows(40, 10, 1, stream)) ++drawn[row];
  }
  // Binomial: 1,000 on average, with a standard deviation of 27.4.
  for (const int count : drawn) REQUIRE(std::abs(count - 1000) < 150);
}

namespace {

struct Asked {
  const char* name;
  ScoreKind score;
  std::vector<ChannelRule> channels;
};

// So many rows that filters are chosen from a sample.
class Sample {
 public:
  static constexpr std::int64_t kRows = 2300;

  explicit Sample(const std::vector<DType>& dtypes) {
    const std::int64_t cols[] = {80, 33, 150, 9};
    for (std::size_t c = 0; c < dtypes.size(); ++c) {
      auto values = clustered_values(kRows, cols[c], 20, 0.6, static_cast<unsigned>(c + 1));
      // The first channel lacks a row.
      if (c == 0) std::fill_n(values.begin() + 5 * cols[c], cols[c], 0.0);
      matrices_.emplace_back(std::move(values), kRows, cols[c], dtypes[c]);
    }
    for (const Matrix& matrix : matrices_) plain_.emplace_back(matrix.view());
  }

  std::vector<MatrixView> views() const {
    std::vector<MatrixView> views;
    for (const Matrix& matrix : matrices_) views.push_back(matrix.view());
    return views;
  }

  // In order of the pool.
  std::vector<PlainPair> pool(const Asked& asked, std::int64_t target, double min_score) const {
    double total = 0.0;
    for (const ChannelRule& rule : asked.channels) total += rule.weight;
    std::vector<PlainPair> pool;
    for (std::int64_t row = 0; row < kRows; ++row) {
      if (row == target || row == 5 || target == 5) continue;
      double score = asked.score == ScoreKind::sum ? 0.0 : 1.0;
      bool is_out = false;
      for (std::size_t c = 0; c < plain_.size(); ++c) {
        const ChannelRule& rule = asked.channels[c];
        const double cosine = plain_[c].cosine(target, row);
        is_out |= cosine > rule.maximum;
        if (asked.score == ScoreKind::sum) {
          score += rule.weight / total * cosine;
        } else {
          score *= std::pow(std::max(cosine, 0.0), rule.weight);
        }
      }
      if (!is_out && score > min_score) pool.push_back({score, row});
    }
    std::sort(pool.begin(), pool.end(), plain_before);
    return pool;
  }

 private:
  std::vector<Matrix> matrices_;
  std::vector<PlainRows> plain_;
};

std::vector<ChannelRule> rules_of(std::initializer_list<double> maxima,
                                  std::initializer_list<double> weights) {
  std::vector<ChannelRule> rules;
  for (std::size_t c = 0; c < maxima.size(); ++c) {
    rules.push_back({"channel " + std::to_string(c), maxima.begin()[c], weights.begin()[c]});
  }
  return rules;
}

}  // namespace

TEST_CASE("pools of any number of channels are those of a plain search", "[channels]") {
  const Asked asked = GENERATE(
      Asked{"one", ScoreKind::product, rules_of({0.9}, {1.0})},
      Asked{"one, squared", ScoreKind::product, rules_of({0.9}, {2.0})},
      Asked{"three", ScoreKind::product, rules_of({0.9, 1.0, 0.95}, {1.0, 1.0, 1.0})},
      Asked{"weighted", ScoreKind::product, rules_of({1.0, 0.98, 1.0}, {0.5, 2.5, 1.0})},
      Asked{"four", ScoreKind::product, rules_of({1.0, 1.0, 1.0, 0.97}, {1.0, 1.0, 1.0, 1.0})},
      Asked{"sum", ScoreKind::sum, rules_of({0.9, 1.0, 1.0}, {1.0, 1.0, 1.0})},
      Asked{"weighted sum", ScoreKind::sum, rules_of({1.0, 1.0, 0.9, 1.0}, {3.0, 1.0, 0.25, 7.0})});
  const std::vector<DType> mixed{DType::float32, DType::float16, DType::int8, DType::float64};
  const Sample sample(
      {mixed.begin(), mixed.begin() + static_cast<std::ptrdiff_t>(asked.channels.size())});
  MineOptions options = exact_options(11);
  options.channels = asked.channels;
  options.score = asked.score;
  options.method = GENERATE(MiningMethod::exact, MiningMethod::partition, MiningMethod::sample);
  options.min_score = options.method == MiningMethod::exact ? GENERATE(0.0, 0.02) : 0.02;
  options.recall = 1.0;
  options.memory = options.method == MiningMethod::exact ? GENERATE(0, 1) : 0;
  INFO(asked.name << ", " << name_of(options.method));
  const HardPairs found = mine_channels(sample.views(), options);
  REQUIRE(found.size() == Sample::kRows);
  for (std::int64_t target = 5; target < Sample::kRows; target += 61) {
    INFO("target " << target);
    const std::vector<PlainPair> pool = sample.pool(asked, target, options.min_score);
    const auto count = std::min(options.k, static_cast<std::int64_t>(pool.size()));
    REQUIRE(*static_cast<const std::int32_t*>(found.counts().row(target)) == count);
    for (std::int64_t rank = 0; rank < count; ++rank) {
      const PlainPair& plain = pool[static_cast<std::size_t>(rank)];
      REQUIRE(static_cast<const std::int32_t*>(found.ids().row(target))[rank] == plain.id);
      REQUIRE(static_cast<const float*>(found.scores().row(target))[rank] ==
              static_cast<float>(plain.score));
    }
  }
}

TEST_CASE("two channels are image and text", "[channels]") {
  const Sample sample({DType::float32, DType::float16});
  const std::vector<MatrixView> views = sample.views();
  MineOptions options = exact_options(9);
  const HardPairs pairs = mine(views[0], views[1], options);
  options.channels = rules_of({0.98, 0.98}, {1.0, 1.0});
  const HardPairs found = mine_channels(views, options);
  for (std::int64_t target = 0; target < Sample::kRows; ++target) {
    REQUIRE(std::memcmp(found.ids().row(target), pairs.ids().row(target), 9 * 4) == 0);
    REQUIRE(std::memcmp(found.scores().row(target), pairs.scores().row(target), 9 * 4) == 0);
  }
}

TEST_CASE("what does not go with channels is refused with its value", "[channels]") {
  const Sample sample({DType::float32, DType::float32, DType::float32});
  const auto refused = [&](ErrorCode code, const char* words, auto change) {
    MineOptions options = exact_options(5);
    options.channels = rules_of({0.9, 0.9, 0.9}, {1.0, 1.0, 1.0});
    change(options);
    expect_error(code, words, [&] { (void)mine_channels(sample.views(), options); });
  };
  constexpr auto kInvalid = ErrorCode::invalid_argument, kUnsupported = ErrorCode::unsupported;
  refused(kInvalid, "channels are 4, but there are 3 matrices",
          [](MineOptions& options) { options.channels.push_back({"more"}); });
  refused(kInvalid, "channels are 9, but must be at most 8",
          [](MineOptions& options) { options.channels.resize(9); });
  refused(kInvalid, "channel 'channel 0' is named twice",
          [](MineOptions& options) { options.channels[2].name = "channel 0"; });
  refused(kInvalid, "weight of channel 'channel 1' is 0.0",
          [](MineOptions& options) { options.channels[1].weight = 0.0; });
  refused(kInvalid, "maximum of channel 'channel 1' is 1.5",
          [](MineOptions& options) { options.channels[1].maximum = 1.5; });
  refused(kInvalid, "the options name no channels",
          [](MineOptions& options) { options.channels.clear(); });
  refused(kUnsupported, "method is 'hnsw'",
          [](MineOptions& options) { options.method = MiningMethod::hnsw; });
  refused(kUnsupported, "margin is 0.1", [](MineOptions& options) { options.margin = 0.1; });
  refused(kUnsupported, "collapse is 'image'",
          [](MineOptions& options) { options.collapse = Collapse::image; });
  refused(kUnsupported, "signed is on",
          [](MineOptions& options) { options.signed_products = true; });
  std::vector<MatrixView> views = sample.views();
  --views[1].rows;
  MineOptions options = exact_options(5);
  options.channels = rules_of({0.9, 0.9, 0.9}, {1.0, 1.0, 1.0});
  expect_error(kInvalid, "channel 'channel 1' has 2299 rows and channel 'channel 0' 2300",
               [&] { (void)mine_channels(views, options); });
  options = exact_options(5);
  options.score = ScoreKind::sum;
  expect_error(kInvalid, "score is 'sum', which is of channels",
               [&] { (void)mine(views[0], views[2], options); });
}

TEST_CASE("lengths that are known are not measured again", "[corpus]") {
  SilentTeam silent;
  const Data data = clustered_data(300, 8, 6);
  Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  corpus.measure(silent.team);
  RowLengths known{corpus.image()->lengths(), corpus.text()->lengths()};
  const std::vector<double> all = known[0];
  known[0].resize(200);
  known[0][7] = kUnknownLength;
  known[0][8] = 77.0;  // as nothing measures it
  Corpus again(data.image.view(), data.text.view(), Rules(), select_kernel());
  again.measure(silent.team, std::move(known));
  for (std::int64_t row = 0; row < 300; ++row) {
    REQUIRE(again.image()->length(row) == (row == 8 ? 77.0 : all[static_cast<std::size_t>(row)]));
  }
}
