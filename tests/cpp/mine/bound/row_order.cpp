// The order in which rows are worked on: every row once, close ones together; and in a file.
#include "mine/bound/row_order.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <set>
#include <vector>

#include "support/expect_error.h"
#include "support/mine_reference.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

void check_order(const Corpus& corpus, const RowOrder& order) {
  std::vector<std::uint32_t> sorted = order.rows;
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::uint32_t> wanted;
  for (std::int64_t row = 0; row < corpus.size(); ++row) {
    if (!corpus.is_zero(row)) wanted.push_back(static_cast<std::uint32_t>(row));
  }
  REQUIRE(sorted == wanted);
  REQUIRE(order.begins.front() == 0);
  REQUIRE(order.begins.back() == static_cast<std::int64_t>(order.rows.size()));
  REQUIRE(std::is_sorted(order.begins.begin(), order.begins.end()));
  if (order.near.empty()) {
    REQUIRE(order.begins.size() == 2);
    return;
  }
  const std::size_t clusters = order.near.size();
  REQUIRE(order.begins.size() == clusters + 1);
  for (std::size_t c = 0; c < clusters; ++c) {
    const std::vector<std::uint32_t>& near = order.near[c];
    REQUIRE(near.front() == c);
    REQUIRE(std::set<std::uint32_t>(near.begin(), near.end()).size() == near.size());
    REQUIRE(*std::max_element(near.begin(), near.end()) < clusters);
  }
}

}  // namespace

TEST_CASE("few rows keep their order, without the zero ones", "[row_order]") {
  SilentTeam silent;
  auto image = clustered_values(300, 8, 5, 0.5, 1);
  for (const std::int64_t row : {0, 7, 299}) std::fill_n(image.begin() + row * 8, 8, 0.0);
  auto text = clustered_values(300, 8, 5, 0.5, 2);
  std::fill_n(text.begin() + 50 * 8, 8, 0.0);
  const Data data{Matrix(image, 300, 8, DType::float32), Matrix(text, 300, 8, DType::float32)};
  Corpus corpus(data.image.view(), data.text.view(), {}, select_kernel());
  corpus.measure(silent.team);
  const RowOrder order = order_rows(corpus, choose_filters(corpus, 5, silent.team), silent.team);
  check_order(corpus, order);
  REQUIRE(order.rows.size() == 296);
  REQUIRE(std::is_sorted(order.rows.begin(), order.rows.end()));
  REQUIRE(order.near.empty());
}

TEST_CASE("many rows are put in clusters of close ones", "[row_order]") {
  SilentTeam silent, one(1);
  constexpr std::int64_t kRows = 4500;
  auto image = clustered_values(kRows, 40, 90, 0.3, 3);
  for (std::int64_t row = 0; row < kRows; row += 100) {
    std::fill_n(image.begin() + row * 40, 40, 0.0);
  }
  const Data data{Matrix(image, kRows, 40, DType::float32),
                  Matrix(clustered_values(kRows, 40, 90, 0.3, 4), kRows, 40, DType::float32)};
  for (const Kernel* kernel : available_kernels()) {
    INFO(kernel->name);
    Corpus corpus(data.image.view(), data.text.view(), {}, *kernel);
    corpus.measure(silent.team);
    const FilterPlan plan = choose_filters(corpus, 5, silent.team);
    const RowOrder order = order_rows(corpus, plan, silent.team);
    check_order(corpus, order);
    REQUIRE(order.near.size() >= 64);
    REQUIRE(order.centres.size() ==
            order.near.size() * static_cast<std::size_t>(plan.leading.count));
    const RowOrder again = order_rows(corpus, plan, one.team);
    REQUIRE(again.rows == order.rows);
    REQUIRE(again.begins == order.begins);
    REQUIRE(again.near == order.near);

    // A row is more similar to its neighbours in the order than to others.
    const PlainRows rows(data.image.view());
    double close = 0.0, far = 0.0;
    const std::size_t half = order.rows.size() / 2;
    for (std::size_t i = 0; i < half; ++i) {
      close += rows.cosine(order.rows[i], order.rows[i + 1]);
      far += rows.cosine(order.rows[i], order.rows[i + half]);
    }
    REQUIRE(close > 2.0 * std::max(far, 0.0) + 0.2 * static_cast<double>(half));

    // The closest clusters of a row: different ones, its own among them.
    const auto count = static_cast<std::int64_t>(order.near.size());
    std::vector<std::uint32_t> some;
    std::vector<std::size_t> own;
    for (std::size_t place = 0; place < order.rows.size(); place += 97) {
      some.push_back(order.rows[place]);
      own.push_back(
          static_cast<std::size_t>(std::upper_bound(order.begins.begin(), order.begins.end(),
                                                    static_cast<std::int64_t>(place)) -
                                   order.begins.begin() - 1));
    }
    for (const std::int64_t wanted : {std::int64_t{3}, count}) {
      const auto closest = closest_clusters(corpus, plan, order, some, wanted, silent.team);
      REQUIRE(static_cast<std::int64_t>(closest.size()) ==
              wanted * static_cast<std::int64_t>(some.size()));
      for (std::size_t i = 0; i < some.size(); ++i) {
        const auto begin = closest.begin() + static_cast<std::int64_t>(i) * wanted;
        REQUIRE(std::set<std::uint32_t>(begin, begin + wanted).size() ==
                static_cast<std::size_t>(wanted));
        REQUIRE(std::all_of(begin, begin + wanted, [&](std::uint32_t c) { return c < count; }));
        REQUIRE(std::find(begin, begin + wanted, own[i]) != begin + wanted);
      }
    }
  }
}

TEST_CASE("equal rows and rows of few kinds are ordered too", "[row_order]") {
  SilentTeam silent;
  constexpr std::int64_t kRows = 4200;
  for (const std::int64_t different : {1, 3, 30}) {
    INFO(different << " different rows");
    const auto values = repeated(clustered_values(kRows, 64, 9, 0.5, 5), 64, different);
    const Data data{Matrix(values, kRows, 64, DType::float32), Matrix()};
    Rules rules;
    rules.use_text = false;
    Corpus corpus(data.image.view(), data.text.view(), rules, select_kernel());
    corpus.measure(silent.team);
    check_order(corpus, order_rows(corpus, choose_filters(corpus, 5, silent.team), silent.team));
  }
}

TEST_CASE("a walk along a table visits each row once, close ones after each other", "[row_order]") {
  SilentTeam silent;
  constexpr std::int64_t kRows = 600, kBefore = 500;
  auto image = clustered_values(kRows, 20, 30, 0.3, 5);
  for (const std::int64_t row : {0, 9, 550}) std::fill_n(image.begin() + row * 20, 20, 0.0);
  const Data data{Matrix(image, kRows, 20, DType::float32),
                  Matrix(clustered_values(kRows, 20, 30, 0.3, 6), kRows, 20, DType::float32)};
  MatrixView old_image = data.image.view(), old_text = data.text.view();
  old_image.rows = old_text.rows = kBefore;
  MineOptions options;
  options.k = 5;
  options.method = MiningMethod::exact;
  const HardPairs pairs = mine(old_image, old_text, options);
  Corpus corpus(data.image.view(), data.text.view(), {}, select_kernel());
  corpus.measure(silent.team);
  const RowOrder order = walk_along(pairs, corpus);
  check_order(corpus, order);
  REQUIRE(order.near.empty());
  std::int64_t steps = 0;
  for (std::size_t i = 0; i + 1 < order.rows.size(); ++i) {
    const std::int64_t from = order.rows[i];
    for (std::int64_t rank = 0; from < kBefore && rank < pairs.count(from); ++rank) {
      steps += pairs.id(from, rank) == order.rows[i + 1] ? 1 : 0;
    }
  }
  REQUIRE(steps > kBefore / 2);
  REQUIRE(std::is_sorted(order.rows.end() - 99, order.rows.end()));
}

namespace {

constexpr std::int64_t kRows = 6;
constexpr std::int64_t kDirections = 2;

// Two clusters of five rows; row 3 is one of zeros.
RowOrder sample() {
  return {{4, 0, 5, 1, 2}, {0, 3, 5}, {{0, 1}, {1, 0}}, {0.5F, 1.0F, -1.0F, 0.25F}};
}

RowOrder read_back(const RowOrder& order) {
  const TemporaryFolder folder;
  TensorColumns columns;
  show_order(order, columns);
  const TensorFile file(folder / "t", write_tensors(folder / "", "t", columns.tensors()));
  return read_order(file, kRows, kDirections);
}

void refuse(const char* words, const std::function<void(RowOrder&)>& change) {
  RowOrder order = sample();
  change(order);
  expect_error(ErrorCode::corrupt, words, [&] { read_back(order); });
}

}  // namespace

TEST_CASE("an order is read as it was written, with and without clusters", "[row_order]") {
  for (const bool clusters : {true, false}) {
    RowOrder order = sample();
    if (!clusters) order = {order.rows, {0, 5}, {}, {}};
    const RowOrder back = read_back(order);
    REQUIRE(back.rows == order.rows);
    REQUIRE(back.begins == order.begins);
    REQUIRE(back.near == order.near);
    REQUIRE(back.centres == order.centres);
  }
}

TEST_CASE("what is no order of these rows is refused", "[row_order]") {
  const char* rows = "its order of rows is none";
  refuse(rows, [](RowOrder& order) { order.rows[2] = kRows; });
  refuse(rows, [](RowOrder& order) { order.rows[2] = order.rows[1]; });
  const char* clusters = "its clusters are not those of an order";
  refuse(clusters, [](RowOrder& order) { order.begins.resize(1); });
  refuse(clusters, [](RowOrder& order) { order.begins[0] = 1; });
  refuse(clusters, [](RowOrder& order) { order.begins[2] = 4; });
  refuse(clusters, [](RowOrder& order) { order.begins[1] = 6; });
  refuse("the centres of its clusters have another length",
         [](RowOrder& order) { order.centres.pop_back(); });
  const char* others = "its clusters name others that there are not";
  refuse(others, [](RowOrder& order) { order.near[1].pop_back(); });
  refuse(others, [](RowOrder& order) { order.near[1][1] = 2; });
}
