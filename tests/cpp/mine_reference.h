// Data sets for the tests of mining, and hard pair mining written down plainly in float64.
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "half.h"
#include "helip/hard_pairs.h"
#include "helip/matrix.h"
#include "helip/mine.h"

namespace helip::testing {

// Owns what a MatrixView shows.
class Matrix {
 public:
  Matrix() = default;
  // Stores `values` [rows, cols] as `dtype`; int8 rows get their own scale.
  Matrix(const std::vector<double>& values, std::int64_t rows, std::int64_t cols, DType dtype)
      : rows_(rows), cols_(cols), dtype_(dtype) {
    bytes_.resize(static_cast<std::size_t>(rows * cols * size_of(dtype)) + 8);
    if (dtype == DType::int8) scale_.resize(static_cast<std::size_t>(rows), 1.0F);
    for (std::int64_t row = 0; row < rows; ++row) {
      double largest = 0.0;
      for (std::int64_t j = 0; j < cols; ++j) {
        largest = std::max(largest, std::abs(values[static_cast<std::size_t>(row * cols + j)]));
      }
      if (dtype == DType::int8 && largest > 0) {
        scale_[static_cast<std::size_t>(row)] = static_cast<float>(largest / 127.0);
      }
      for (std::int64_t j = 0; j < cols; ++j) {
        const std::int64_t at = row * cols + j;
        put(at, values[static_cast<std::size_t>(at)], largest);
      }
    }
  }

  MatrixView view() const {
    return {bytes_.data(),
            rows_,
            cols_,
            dtype_,
            cols_ * size_of(dtype_),
            dtype_ == DType::int8 ? scale_.data() : nullptr};
  }
  std::vector<double> row(std::int64_t i) const {
    std::vector<double> values(static_cast<std::size_t>(cols_));
    read_row(view(), i, values.data());
    return values;
  }

 private:
  template <typename T>
  void store(std::int64_t at, T value) {
    std::memcpy(bytes_.data() + at * static_cast<std::int64_t>(sizeof(T)), &value, sizeof(T));
  }
  void put(std::int64_t at, double value, double largest) {
    switch (dtype_) {
      case DType::float64: return store(at, value);
      case DType::float16: return store(at, float16_from_float(static_cast<float>(value)));
      case DType::bfloat16: return store(at, bfloat16_from_float(static_cast<float>(value)));
      case DType::int8:
        return store(
            at, static_cast<std::int8_t>(largest > 0 ? std::lround(value / largest * 127.0) : 0));
      default: return store(at, static_cast<float>(value));
    }
  }

  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  DType dtype_ = DType::float32;
  std::vector<char> bytes_;
  std::vector<float> scale_;
};

struct Data {
  Matrix image;
  Matrix text;
};

// Rows scattered about `clusters` centres that both modalities share, so that pairs agree in both.
inline std::vector<double> clustered_values(std::int64_t rows, std::int64_t cols,
                                            std::int64_t clusters, double noise, unsigned seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> centres(static_cast<std::size_t>(clusters * cols));
  for (double& value : centres) value = normal(random);
  std::vector<double> values(static_cast<std::size_t>(rows * cols));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < cols; ++j) {
      values[static_cast<std::size_t>(i * cols + j)] =
          centres[static_cast<std::size_t>(i * 7919 % clusters * cols + j)] +
          noise * normal(random);
    }
  }
  return values;
}

inline Data clustered_data(std::int64_t rows, std::int64_t image_dim, std::int64_t text_dim,
                           DType dtype = DType::float32, unsigned seed = 1,
                           std::int64_t clusters = 20, double noise = 0.7) {
  return {Matrix(clustered_values(rows, image_dim, clusters, noise, seed), rows, image_dim, dtype),
          Matrix(clustered_values(rows, text_dim, clusters, noise, seed + 1000), rows, text_dim,
                 dtype)};
}

inline double plain_cosine(const std::vector<double>& a, const std::vector<double>& b) {
  // long double: rows of tiny and huge values must not under- or overflow.
  long double dot = 0, left = 0, right = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    dot += static_cast<long double>(a[i]) * b[i];
    left += static_cast<long double>(a[i]) * a[i];
    right += static_cast<long double>(b[i]) * b[i];
  }
  if (left == 0 || right == 0) return 0.0;
  return std::clamp(static_cast<double>(dot / (std::sqrt(left) * std::sqrt(right))), -1.0, 1.0);
}

struct PlainPair {
  double score;
  std::int64_t id;
};

struct Drops {
  std::int64_t image = 0, text = 0, nonpositive = 0, small = 0;
};

// Every pair that counts, of one target, best first.
inline std::vector<PlainPair> plain_pool(const Data& data, std::int64_t target,
                                         const MineOptions& options, Drops* drops = nullptr) {
  const bool both = options.modality == Modality::both;
  const bool use_image = both || options.modality == Modality::image;
  const bool use_text = both || options.modality == Modality::text;
  const std::int64_t rows = use_image ? data.image.view().rows : data.text.view().rows;
  Drops unused;
  Drops& dropped = drops != nullptr ? *drops : unused;
  std::vector<PlainPair> pool;
  const auto own_image = use_image ? data.image.row(target) : std::vector<double>();
  const auto own_text = use_text ? data.text.row(target) : std::vector<double>();
  for (std::int64_t j = 0; j < rows; ++j) {
    if (j == target) continue;
    const double image = use_image ? plain_cosine(own_image, data.image.row(j)) : 1.0;
    const double text = use_text ? plain_cosine(own_text, data.text.row(j)) : 1.0;
    const double score = image * text;
    if (use_image && image > options.image_max) {
      ++dropped.image;
    } else if (use_text && text > options.text_max) {
      ++dropped.text;
    } else if (score <= 0 || (!options.signed_products && (image < 0 || text < 0))) {
      ++dropped.nonpositive;
    } else if (score <= options.min_score) {
      ++dropped.small;
    } else {
      pool.push_back({score, j});
    }
  }
  std::sort(pool.begin(), pool.end(), [](const PlainPair& a, const PlainPair& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
  });
  return pool;
}

// One pool of a table against the plain one: the same ids in the same order, unless two scores are
// closer than the rounding of float64; then either may come first.
inline void check_pool(const std::vector<PlainPair>& expected, std::int64_t k,
                       const std::int64_t* ids, const float* scores, std::int64_t count) {
  REQUIRE(count == std::min<std::int64_t>(k, static_cast<std::int64_t>(expected.size())));
  for (std::int64_t rank = 0; rank < k; ++rank) {
    if (rank >= count) {
      REQUIRE(ids[rank] == -1);
      REQUIRE(scores[rank] == 0.0F);
      continue;
    }
    const PlainPair& wanted = expected[static_cast<std::size_t>(rank)];
    REQUIRE(std::abs(scores[rank] - wanted.score) <= 1e-7);
    if (ids[rank] == wanted.id) continue;
    const auto found = std::find_if(expected.begin(), expected.end(),
                                    [&](const PlainPair& pair) { return pair.id == ids[rank]; });
    REQUIRE(found != expected.end());
    INFO("rank " << rank << ": row " << ids[rank] << " instead of row " << wanted.id);
    REQUIRE(found->score != wanted.score);
    REQUIRE(std::abs(found->score - wanted.score) <= 1e-13);
  }
}

inline void check_table(const Data& data, const MineOptions& options, const HardPairs& pairs) {
  for (std::int64_t i = 0; i < pairs.size(); ++i) {
    INFO("target " << i);
    std::vector<std::int64_t> ids;
    std::vector<float> scores;
    for (std::int64_t rank = 0; rank < options.k; ++rank) {
      ids.push_back(pairs.id(i, rank));
      scores.push_back(pairs.score(i, rank));
    }
    check_pool(plain_pool(data, i, options), options.k, ids.data(), scores.data(), pairs.count(i));
  }
}

// Every byte of a table that is kept.
inline std::string bytes_of(const HardPairs& pairs) {
  std::string bytes;
  for (const MatrixView& view : {pairs.ids(), pairs.scores(), pairs.counts()}) {
    for (std::int64_t i = 0; i < view.rows; ++i) {
      bytes.append(static_cast<const char*>(view.row(i)),
                   static_cast<std::size_t>(view.cols * size_of(view.dtype)));
    }
  }
  return bytes + pairs.origin().options_json + pairs.origin().report_json;
}

// Sets HELIP_KERNEL for a scope.
class ForcedKernel {
 public:
  explicit ForcedKernel(const char* name) { setenv("HELIP_KERNEL", name, 1); }
  ~ForcedKernel() { unsetenv("HELIP_KERNEL"); }
};

inline MineOptions exact_options(std::int64_t k, int threads = 2) {
  MineOptions options;
  options.k = k;
  options.method = Method::exact;
  options.threads = threads;
  return options;
}

}  // namespace helip::testing
