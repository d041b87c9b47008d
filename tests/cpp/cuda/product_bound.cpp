// Bounds of one pair: whatever the error of a similarity within its margin, they hold.
#include "cuda/product_bound.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>
#include <random>

using namespace helip::product;

namespace {

constexpr double kRounding = 0x1p-21;  // what two margins hold for float32 arithmetic
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The score of exact similarities, as docs/method.md states it.
double score_of(const Rules& rules, double image, double text, double image_max, double text_max) {
  if (rules.image == 0) image = 1.0;
  if (rules.text == 0) text = 1.0;
  if ((rules.image != 0 && image > image_max) || (rules.text != 0 && text > text_max)) return 0.0;
  const bool clamped = rules.signed_score == 0 && (image < 0.0 || text < 0.0);
  return clamped ? 0.0 : std::max(0.0, image * text);
}

// A product that is off by `share` of what its margin allows.
Similarity off(double exact, double margin, double share) {
  return {static_cast<float>(exact + share * margin), static_cast<float>(margin + kRounding)};
}

}  // namespace

TEST_CASE("bounds enclose the score for any error within the margin", "[product_bound]") {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> cosine(-1.0, 1.0);
  std::uniform_real_distribution<double> exponent(-7.0, -1.3);
  for (int trial = 0; trial < 200000; ++trial) {
    const int parts = trial % 3;  // both, image, text
    const double image_max = trial % 5 == 0 ? 1.0 : 0.6;
    const double text_max = trial % 7 == 0 ? 1.0 : 0.9;
    const Rules rules = rules_of(parts != 2, parts != 1, image_max, text_max, 0.0, trial % 2 == 0);
    // Near the edges too: near a threshold, near zero.
    double image = cosine(random);
    double text = cosine(random);
    if (trial % 11 == 0) image = image_max + 1e-7 * cosine(random);
    if (trial % 13 == 0) text = 1e-6 * cosine(random);
    image = std::min(image, 1.0);
    const double share = trial % 2 == 0 ? 1.0 : -1.0;
    const Similarity by_image = off(image, std::pow(10.0, exponent(random)), share);
    const Similarity by_text = off(text, std::pow(10.0, exponent(random)), cosine(random));
    const double score = score_of(rules, image, text, image_max, text_max);
    const float upper = positive(upper_bound(rules, by_image, by_text));
    REQUIRE(static_cast<double>(upper) >= score);
    REQUIRE(static_cast<double>(lower_bound(rules, by_image, by_text)) <= score);
  }
}

TEST_CASE("bounds meet where the margins vanish", "[product_bound]") {
  const Rules rules = rules_of(true, true, 0.98, 0.98, 0.0, false);
  const Similarity image{0.5F, 1e-6F};
  const Similarity text{0.25F, 1e-6F};
  REQUIRE(upper_bound(rules, image, text) - lower_bound(rules, image, text) < 2e-6F);
}

TEST_CASE("a near duplicate is dropped beyond doubt and never lifts a threshold",
          "[product_bound]") {
  const Rules rules = rules_of(true, true, 0.98, 0.98, 0.0, false);
  const Similarity text{0.5F, 0.01F};
  REQUIRE(upper_bound(rules, {0.995F, 0.01F}, text) == 0.0F);
  REQUIRE(upper_bound(rules, {0.985F, 0.01F}, text) > 0.4F);
  REQUIRE(lower_bound(rules, {0.985F, 0.01F}, text) == 0.0F);
  REQUIRE(lower_bound(rules, {0.965F, 0.01F}, text) > 0.4F);
  REQUIRE(upper_bound(rules, text, {0.995F, 0.01F}) == 0.0F);
}

TEST_CASE("with a limit of 1 nothing is a near duplicate", "[product_bound]") {
  const Rules rules = rules_of(true, true, 1.0, 1.0, 0.0, false);
  const Similarity same{1.001F, 0.0001F};
  REQUIRE(upper_bound(rules, same, same) > 1.0F);
  REQUIRE(lower_bound(rules, same, same) > 0.99F);
}

TEST_CASE("a margin of NaN leaves a pair out", "[product_bound]") {
  for (const bool signed_score : {false, true}) {
    const Rules rules = rules_of(true, true, 0.98, 1.0, 0.0, signed_score);
    for (const float value : {-0.5F, 0.0F, 0.5F}) {
      const Similarity good{0.5F, 0.01F};
      const Similarity bad{value, kNan};
      for (const float upper : {upper_bound(rules, bad, good), upper_bound(rules, good, bad)}) {
        REQUIRE_FALSE(survives(rules, upper, 0.0F, 0.0F));
      }
      REQUIRE(lower_bound(rules, bad, good) == 0.0F);
      REQUIRE(lower_bound(rules, good, bad) == 0.0F);
    }
  }
}

TEST_CASE("a pair survives for its row or for its column", "[product_bound]") {
  const Rules rules = rules_of(true, true, 0.98, 0.98, 0.125, false);
  REQUIRE(survives(rules, 0.5F, 0.5F, kInfinity));  // a tie may still win by its id
  REQUIRE(survives(rules, 0.5F, kInfinity, 0.5F));
  REQUIRE_FALSE(survives(rules, 0.5F, 0.6F, 0.6F));
  REQUIRE_FALSE(survives(rules, 0.5F, kInfinity, kInfinity));
  REQUIRE_FALSE(survives(rules, 0.125F, 0.0F, 0.0F));  // must exceed min_score
}

TEST_CASE("the floor never lies above min_score", "[product_bound]") {
  std::mt19937 random(2);
  std::uniform_real_distribution<double> share(0.0, 1.0);
  for (int trial = 0; trial < 1000; ++trial) {
    const double min_score = share(random);
    const float floor = rules_of(true, true, 1.0, 1.0, min_score, false).floor;
    REQUIRE(static_cast<double>(floor) <= min_score);
    REQUIRE(static_cast<double>(floor) >= min_score * (1.0 - 0x1p-22));
  }
}
