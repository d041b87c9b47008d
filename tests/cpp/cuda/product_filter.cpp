// The filter kernel, emulated thread by thread, against plain loops.
#include "cuda/product_filter.h"

#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <map>
#include <random>
#include <utility>
#include <vector>

using namespace helip::product;

namespace {

struct Bounds {
  float upper, lower;
};
using Place = std::pair<std::int32_t, std::int32_t>;

// bfloat16 and float16 numbers whose products are exact in both.
std::uint16_t bits_of(float value, std::int32_t format) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if (format == kHelipBfloat16) return static_cast<std::uint16_t>(bits >> 16);
  const std::uint32_t sign = bits >> 16 & 0x8000U;
  if (value == 0.0F) return static_cast<std::uint16_t>(sign);
  const std::uint32_t exponent = (bits >> 23 & 0xffU) - 127 + 15;
  return static_cast<std::uint16_t>(sign | exponent << 10 | (bits >> 13 & 0x3ffU));
}

// Rows of numbers -1.75 .. 1.75 in steps of a quarter, over `depth`: sums are exact in float32.
struct Matrix {
  Matrix(std::int64_t rows, std::int64_t depth, std::int32_t format, std::mt19937& random)
      : depth(depth) {
    std::uniform_int_distribution<int> step(-7, 7);
    for (std::int64_t i = 0; i < rows * depth; ++i) {
      values.push_back(static_cast<float>(step(random)) / 4.0F);
      bits.push_back(bits_of(values.back(), format));
    }
    std::uniform_real_distribution<float> share(0.0F, 0.5F);
    for (std::int64_t i = 0; i < rows; ++i) margins.push_back(share(random));
  }

  float dot(std::int64_t i, const Matrix& other, std::int64_t j) const {
    float sum = 0;
    for (std::int64_t k = 0; k < depth; ++k) {
      sum += values[static_cast<std::size_t>(i * depth + k)] *
             other.values[static_cast<std::size_t>(j * depth + k)];
    }
    return sum;
  }

  std::int64_t depth;
  std::vector<float> values;
  std::vector<std::uint16_t> bits;
  std::vector<float> margins;
};

struct Problem {
  Problem(std::int64_t rows, std::int64_t columns, std::int64_t image_depth,
          std::int64_t text_depth, std::int32_t format, bool signed_score, std::int64_t after,
          unsigned seed)
      : random(seed),
        image_rows(rows, image_depth, format, random),
        image_columns(columns, image_depth, format, random),
        text_rows(rows, text_depth, format, random),
        text_columns(columns, text_depth, format, random) {
    std::uniform_real_distribution<float> threshold(0.0F, 200.0F);
    for (std::int64_t i = 0; i < rows; ++i) row_thresholds.push_back(threshold(random));
    for (std::int64_t j = 0; j < columns; ++j) column_thresholds.push_back(threshold(random));
    filter.image = modality(image_rows, image_columns);
    filter.text = modality(text_rows, text_columns);
    filter.rows = rows;
    filter.columns = columns;
    filter.after = after;
    filter.row_thresholds = row_thresholds.data();
    filter.column_thresholds = column_thresholds.data();
    filter.rules = rules_of(image_depth > 0, text_depth > 0, 1.0, 1.0, 0.0, signed_score);
    filter.format = format;
  }

  static HelipProductModality modality(const Matrix& rows, const Matrix& columns) {
    return {rows.bits.data(), columns.bits.data(), rows.margins.data(), columns.margins.data(),
            rows.depth,       rows.depth,          rows.depth};
  }

  // Upper and lower bounds by place; `count` as the filter gives it.
  std::map<Place, Bounds> emulated(std::int64_t capacity) {
    std::vector<std::int32_t> rows(static_cast<std::size_t>(capacity));
    std::vector<std::int32_t> columns(rows.size());
    std::vector<float> upper(rows.size());
    std::vector<float> lower(rows.size());
    count = 0;
    filter.capacity = capacity;
    filter.survivor_rows = rows.data();
    filter.survivor_columns = columns.data();
    filter.survivor_upper = upper.data();
    filter.survivor_lower = lower.data();
    filter.count = &count;
    helip::emulate_product_filter(filter);
    std::map<Place, Bounds> result;
    for (std::size_t s = 0; s < std::min<std::size_t>(count, rows.size()); ++s) {
      result[{rows[s], columns[s]}] = {upper[s], lower[s]};
    }
    return result;
  }

  std::map<Place, Bounds> plain() const {
    std::map<Place, Bounds> result;
    for (std::int64_t i = 0; i < filter.rows; ++i) {
      for (std::int64_t j = std::max<std::int64_t>(0, i + filter.after + 1); j < filter.columns;
           ++j) {
        const auto r = static_cast<std::size_t>(i);
        const auto c = static_cast<std::size_t>(j);
        const Similarity image{image_rows.dot(i, image_columns, j),
                               image_rows.margins[r] + image_columns.margins[c]};
        const Similarity text{text_rows.dot(i, text_columns, j),
                              text_rows.margins[r] + text_columns.margins[c]};
        const float upper = upper_bound(filter.rules, image, text);
        if (!survives(filter.rules, upper, row_thresholds[r], column_thresholds[c])) continue;
        result[{static_cast<std::int32_t>(i), static_cast<std::int32_t>(j)}] = {
            upper, lower_bound(filter.rules, image, text)};
      }
    }
    return result;
  }

  std::mt19937 random;
  Matrix image_rows, image_columns, text_rows, text_columns;
  std::vector<float> row_thresholds, column_thresholds;
  HelipProductFilter filter{};
  unsigned long long count = 0;
};

void require_same(const std::map<Place, Bounds>& a, const std::map<Place, Bounds>& b) {
  REQUIRE(a.size() == b.size());
  for (const auto& [place, bounds] : a) {
    const auto other = b.find(place);
    REQUIRE(other != b.end());
    REQUIRE(bounds.upper == other->second.upper);
    REQUIRE(bounds.lower == other->second.lower);
  }
}

}  // namespace

TEST_CASE("the emulated kernel finds what plain loops find", "[product_filter]") {
  struct Shape {
    std::int64_t rows, columns, image_depth, text_depth, after;
  };
  const Shape shapes[] = {{1, 1, 8, 8, -1},        {130, 257, 72, 40, -130}, {200, 200, 136, 64, 0},
                          {200, 300, 64, 16, 150}, {17, 300, 0, 200, 3},     {300, 17, 128, 0, -40},
                          {64, 128, 8, 8, 500}};
  unsigned seed = 1;
  for (const Shape& s : shapes) {
    for (const std::int32_t format : {kHelipBfloat16, kHelipFloat16}) {
      for (const bool signed_score : {false, true}) {
        INFO(s.rows << " x " << s.columns << ", format " << format);
        Problem problem(s.rows, s.columns, s.image_depth, s.text_depth, format, signed_score,
                        s.after, ++seed);
        const auto found = problem.emulated(s.rows * s.columns);
        REQUIRE(found.size() == problem.count);  // none twice
        require_same(found, problem.plain());
      }
    }
  }
}

TEST_CASE("survivors beyond the capacity are counted and not written", "[product_filter]") {
  Problem problem(130, 140, 16, 16, kHelipFloat16, false, -130, 9);
  const auto all = problem.plain();
  REQUIRE(all.size() > 100);
  const auto some = problem.emulated(100);
  REQUIRE(problem.count == all.size());
  REQUIRE(some.size() == 100);
  for (const auto& [place, bounds] : some) REQUIRE(all.count(place) == 1);
}
