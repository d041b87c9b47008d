#include "base/counter_random.h"

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <set>

using helip::random::CounterRandom;
using helip::random::mix64;
using helip::random::portable_log;

TEST_CASE("the mixer is the finaliser of SplitMix64") {
  // The first outputs of the published generator from state 0.
  CHECK(mix64(0x9e3779b97f4a7c15ULL) == 0xe220a8397b1dcdafULL);
  CHECK(mix64(2 * 0x9e3779b97f4a7c15ULL) == 0x6e789e6aa1b965f4ULL);
}

TEST_CASE("each word of the key, and its place, changes the sequence") {
  std::set<std::uint64_t> firsts;
  for (std::uint64_t a = 0; a < 20; ++a) {
    for (std::uint64_t b = 0; b < 20; ++b) {
      for (std::uint64_t c = 0; c < 20; ++c) firsts.insert(CounterRandom{a, b, c}.next());
    }
  }
  CHECK(firsts.size() == 20 * 20 * 20);
}

TEST_CASE("below is uniform over its range, also where the range is no power of two") {
  for (const std::int64_t bound : {1, 2, 3, 5, 10, 17}) {
    CounterRandom random{7, static_cast<std::uint64_t>(bound)};
    std::array<int, 17> seen{};
    constexpr int kDraws = 20000;
    for (int i = 0; i < kDraws; ++i) ++seen.at(static_cast<std::size_t>(random.below(bound)));
    double chi_square = 0.0;
    const double expected = static_cast<double>(kDraws) / static_cast<double>(bound);
    for (std::int64_t value = 0; value < bound; ++value) {
      const double off = seen.at(static_cast<std::size_t>(value)) - expected;
      chi_square += off * off / expected;
    }
    CHECK(chi_square < 45.0);  // 16 degrees of freedom: p < 2e-4
  }
}

TEST_CASE("unit excludes both ends and has the mean and variance of a uniform number") {
  CounterRandom random{11};
  double sum = 0.0;
  double squares = 0.0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double value = random.unit();
    REQUIRE(value > 0.0);
    REQUIRE(value < 1.0);
    sum += value;
    squares += value * value;
  }
  CHECK(std::abs(sum / kDraws - 0.5) < 0.004);
  CHECK(std::abs(squares / kDraws - 1.0 / 3.0) < 0.004);
}

TEST_CASE("portable_log agrees with the standard library to 2e-15") {
  CounterRandom random{13};
  for (int i = 0; i < 100000; ++i) {
    const double value = std::ldexp(random.unit(), static_cast<int>(random.below(200)) - 100);
    const double expected = std::log(value);
    REQUIRE(std::abs(portable_log(value) - expected) <= 2e-15 * std::abs(expected) + 1e-18);
  }
  for (const double value : {0x1p-53, 1.0 - 0x1p-53, 1.0, 1.0 + 0x1p-52, 2.0, 1e300, 1e-300}) {
    REQUIRE(std::abs(portable_log(value) - std::log(value)) <= 2e-15 * std::abs(std::log(value)));
  }
}

TEST_CASE("the largest of Gumbel-shifted logits follows their softmax") {
  const std::array<double, 4> logits{0.0, -0.5, -1.0, -3.0};
  double total = 0.0;
  for (const double logit : logits) total += std::exp(logit);
  std::array<int, 4> wins{};
  CounterRandom random{17};
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    std::size_t best = 0;
    double best_key = -1e300;
    for (std::size_t j = 0; j < logits.size(); ++j) {
      const double key = logits[j] + random.gumbel();
      if (key > best_key) {
        best_key = key;
        best = j;
      }
    }
    ++wins[best];
  }
  for (std::size_t j = 0; j < logits.size(); ++j) {
    const double share = std::exp(logits[j]) / total;
    const double deviation = std::sqrt(share * (1.0 - share) / kDraws);
    CHECK(std::abs(static_cast<double>(wins[j]) / kDraws - share) < 4.0 * deviation);
  }
}
