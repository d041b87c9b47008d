// Indexes of pairs of generated data, and what a plain search in float64 finds in them.
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "helip/pair_index.h"
#include "support/mine_reference.h"

namespace helip::testing {

inline constexpr std::int64_t kImage = 40;
inline constexpr std::int64_t kText = 24;

inline Data data_of(std::int64_t rows, DType dtype = DType::float16) {
  return clustered_data(rows, kImage, kText, dtype, 3, 60, 0.8);
}

inline MatrixView part_of(const Matrix& matrix, std::int64_t first, std::int64_t last) {
  MatrixView part = matrix.view();
  part.data = part.row(first);
  part.rows = last - first;
  return part;
}

inline double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  const double dot = std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
  const auto length = [](const std::vector<double>& x) {
    return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
  };
  return dot / (length(a) * length(b));
}

struct Plain {
  double score;
  std::int64_t id;
};

// The k best of rows [0, rows) for a query that is row `query`, in float64.
inline std::vector<Plain> plain_matches(const Data& data, std::int64_t rows, std::int64_t query,
                                        std::int64_t k, double most = 0.98) {
  std::vector<Plain> all;
  for (std::int64_t j = 0; j < rows; ++j) {
    const double image = cosine(data.image.row(query), data.image.row(j));
    const double text = cosine(data.text.row(query), data.text.row(j));
    if (image <= 0.0 || text <= 0.0 || image > most || text > most) continue;
    all.push_back({image * text, j});
  }
  std::sort(all.begin(), all.end(), [](const Plain& a, const Plain& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  });
  all.resize(std::min(all.size(), static_cast<std::size_t>(k)));
  return all;
}

inline PairIndex built(const Data& data, std::int64_t rows, const PairIndexOptions& options = {}) {
  return PairIndex::build(part_of(data.image, 0, rows), part_of(data.text, 0, rows), options, {},
                          2);
}

// Share of the plain matches that the index finds; scores are compared as well.
inline double recall(const PairIndex& index, const Data& data, std::int64_t rows,
                     std::int64_t first, std::int64_t last, std::int64_t k, double precision) {
  const PairMatches found =
      index.query(part_of(data.image, first, last), part_of(data.text, first, last), k, 128);
  std::int64_t hits = 0, wanted = 0;
  for (std::int64_t q = 0; q < last - first; ++q) {
    const auto exact = plain_matches(data, rows, first + q, k);
    wanted += static_cast<std::int64_t>(exact.size());
    for (std::int64_t r = 0; r < found.counts[static_cast<std::size_t>(q)]; ++r) {
      const auto at = static_cast<std::size_t>(q * k + r);
      for (const Plain& match : exact) {
        if (match.id != found.ids[at]) continue;
        ++hits;
        REQUIRE(std::abs(match.score - found.scores[at]) < precision);
      }
    }
  }
  return static_cast<double>(hits) / static_cast<double>(wanted);
}

inline bool same(const PairMatches& a, const PairMatches& b) {
  return a.ids == b.ids && a.scores == b.scores && a.counts == b.counts;
}

}  // namespace helip::testing
