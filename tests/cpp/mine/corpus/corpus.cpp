// Rows that are drawn: each once, and every subset as likely as another.
#include "mine/corpus/corpus.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <vector>

using helip::mining::draw_rows;

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
