// Data sets for the tests of mining, and hard pair mining written down plainly in float64.
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/half.h"
#include "base/team.h"
#include "helip/hard_pairs.h"
#include "helip/kernel.h"
#include "helip/matrix.h"
#include "helip/mine.h"
#include "io/json.h"

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

// Rows scattered about a mean that is `pull` times as long as they are: cosines near 1 everywhere.
inline std::vector<double> anisotropic_values(std::int64_t rows, std::int64_t cols, double pull,
                                              unsigned seed) {
  std::vector<double> values = clustered_values(rows, cols, 12, 0.6, seed);
  const std::vector<double> mean = clustered_values(1, cols, 1, 0.0, seed + 1);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] += pull * mean[i % static_cast<std::size_t>(cols)];
  }
  return values;
}

// Mostly zeros, never negative: what a rectifier or counted words give.
inline std::vector<double> sparse_values(std::int64_t rows, std::int64_t cols, unsigned seed) {
  std::vector<double> values = clustered_values(rows, cols, 15, 0.8, seed);
  for (double& value : values) value = std::max(0.0, value - 0.9);
  return values;
}

// Row i becomes a copy of row i mod `different`.
inline std::vector<double> repeated(std::vector<double> values, std::int64_t cols,
                                    std::int64_t different) {
  const auto rows = static_cast<std::int64_t>(values.size()) / cols;
  for (std::int64_t i = different; i < rows; ++i) {
    std::copy_n(values.begin() + i % different * cols, cols, values.begin() + i * cols);
  }
  return values;
}

// The float64 dot product as the kernels state it: element k is added to lane k mod 32, the lanes
// in pairs, then what is left.
inline double lane_dot(const double* a, const double* b, std::size_t n) {
  double lanes[32] = {};
  std::size_t k = 0;
  for (; k + 32 <= n; k += 32) {
    for (std::size_t lane = 0; lane < 32; ++lane) {
      const double product = a[k + lane] * b[k + lane];
      lanes[lane] += product;
    }
  }
  double sums[8];
  for (std::size_t i = 0; i < 8; ++i) {
    sums[i] = (lanes[i] + lanes[i + 8]) + (lanes[i + 16] + lanes[i + 24]);
  }
  double total =
      ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  for (; k < n; ++k) total += a[k] * b[k];
  return total;
}

// The rows of a matrix in float64, with their lengths: of the codes for int8, and of values that a
// power of two brings near 1, which leaves the bits of a cosine as they are.
class PlainRows {
 public:
  PlainRows() = default;
  explicit PlainRows(const MatrixView& matrix) : cols_(static_cast<std::size_t>(matrix.cols)) {
    MatrixView view = matrix;
    view.scale = nullptr;
    values_.resize(static_cast<std::size_t>(view.rows) * cols_);
    for (std::int64_t i = 0; i < view.rows; ++i) {
      double* row = values_.data() + static_cast<std::size_t>(i) * cols_;
      read_row(view, i, row);
      double largest = 0.0;
      for (std::size_t j = 0; j < cols_; ++j) largest = std::max(largest, std::abs(row[j]));
      const int exponent = largest > 0.0 ? -std::ilogb(largest) : 0;
      for (std::size_t j = 0; j < cols_; ++j) row[j] = std::scalbn(row[j], exponent);
      double length = std::sqrt(lane_dot(row, row, cols_));
      if (matrix.scale != nullptr && matrix.dtype == DType::int8) {
        if (matrix.scale[i] == 0.0F) length = 0.0;
        if (matrix.scale[i] < 0.0F) length = -length;
      }
      length_.push_back(length);
    }
  }

  std::int64_t size() const { return static_cast<std::int64_t>(length_.size()); }
  std::size_t dimensions() const { return cols_; }
  const double* row(std::int64_t i) const {
    return values_.data() + static_cast<std::size_t>(i) * cols_;
  }
  double length(std::int64_t i) const { return length_[static_cast<std::size_t>(i)]; }
  double cosine(std::int64_t i, const PlainRows& other, std::int64_t j) const {
    const double lengths = length(i) * other.length(j);
    if (lengths == 0.0) return 0.0;
    return std::clamp(lane_dot(row(i), other.row(j), cols_) / lengths, -1.0, 1.0);
  }
  double cosine(std::int64_t i, std::int64_t j) const { return cosine(i, *this, j); }

 private:
  std::size_t cols_ = 0;
  std::vector<double> values_;
  std::vector<double> length_;
};

struct PlainPair {
  double score;
  std::int64_t id;
};

inline bool plain_before(const PlainPair& a, const PlainPair& b) {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

struct Drops {
  std::int64_t image = 0, text = 0, margin = 0, collapsed = 0, skipped = 0;
};

// Hard pair mining by its definition, one pair after the other.
class PlainMiner {
 public:
  PlainMiner(const Data& data, const MineOptions& options)
      : options_(options),
        use_image_(options.modality != Modality::text),
        use_text_(options.modality != Modality::image) {
    if (use_image_) image_ = PlainRows(data.image.view());
    if (use_text_) text_ = PlainRows(data.text.view());
    rows_ = use_image_ ? image_.size() : text_.size();
    if (options.collapse != Collapse::none) find_groups();
  }

  // The same rows, other options of the same modality.
  void set_options(const MineOptions& options) {
    options_ = options;
    groups_.clear();
    if (options.collapse != Collapse::none) find_groups();
  }

  std::int64_t size() const { return rows_; }
  const std::vector<std::uint32_t>& groups() const { return groups_; }
  double image(std::int64_t i, std::int64_t j) const {
    return use_image_ ? image_.cosine(i, j) : 1.0;
  }
  double text(std::int64_t i, std::int64_t j) const { return use_text_ ? text_.cosine(i, j) : 1.0; }
  double score(std::int64_t i, std::int64_t j) const {
    const double a = image(i, j), b = text(i, j);
    return !options_.signed_products && (a < 0.0 || b < 0.0) ? 0.0 : a * b;
  }

  // Every pair of one target that no filter keeps out, best first, without those passed over.
  // `allowed`: rows that may be candidates; nullptr: all.
  std::vector<PlainPair> pool(std::int64_t target, Drops* drops = nullptr,
                              const std::vector<std::uint32_t>* allowed = nullptr) const {
    struct Ranked {
      PlainPair pair;
      std::int64_t Drops::* reason;
    };
    std::vector<Ranked> ranking;
    const double own = options_.margin ? image_.cosine(target, text_, target) : 0.0;
    for (std::int64_t j = 0; j < rows_; ++j) {
      if (j == target) continue;
      if (allowed != nullptr && !std::binary_search(allowed->begin(), allowed->end(), j)) continue;
      const double a = image(target, j), b = text(target, j);
      const bool clamped = !options_.signed_products && (a < 0.0 || b < 0.0);
      const double product = clamped ? 0.0 : a * b;
      if (product <= options_.min_score) continue;
      std::int64_t Drops::* reason = nullptr;
      if (use_image_ && a > options_.image_max) {
        reason = &Drops::image;
      } else if (use_text_ && b > options_.text_max) {
        reason = &Drops::text;
      } else if (options_.margin &&
                 std::max(image_.cosine(target, text_, j), image_.cosine(j, text_, target)) >
                     own - *options_.margin) {
        reason = &Drops::margin;
      }
      ranking.push_back({{product, j}, reason});
    }
    std::sort(ranking.begin(), ranking.end(),
              [](const Ranked& a, const Ranked& b) { return plain_before(a.pair, b.pair); });

    std::vector<PlainPair> pool;
    std::set<std::uint32_t> seen;
    const std::int64_t wanted = options_.k + options_.skip;
    std::int64_t rank = 0;
    for (Ranked& ranked : ranking) {
      if (ranked.reason == nullptr && !groups_.empty() &&
          !seen.insert(groups_[static_cast<std::size_t>(ranked.pair.id)]).second) {
        ranked.reason = &Drops::collapsed;
      }
      if (ranked.reason == nullptr) pool.push_back(ranked.pair);
      if (ranked.reason != nullptr && rank < wanted && drops != nullptr) {
        ++(drops->*ranked.reason);
      }
      ++rank;
    }
    const auto passed_over = std::min(options_.skip, static_cast<std::int64_t>(pool.size()));
    if (drops != nullptr) drops->skipped += passed_over;
    pool.erase(pool.begin(), pool.begin() + passed_over);
    return pool;
  }

 private:
  // Each row is marked with the least row that it reaches: marks are passed on until none changes.
  void find_groups() {
    std::vector<std::pair<std::size_t, std::size_t>> close;
    for (std::int64_t i = 0; i < rows_; ++i) {
      for (std::int64_t j = 0; j < i; ++j) {
        const bool image_close =
            options_.collapse == Collapse::text || image_.cosine(i, j) > options_.image_max;
        const bool text_close =
            options_.collapse == Collapse::image || text_.cosine(i, j) > options_.text_max;
        if (image_close && text_close) close.emplace_back(i, j);
      }
    }
    groups_.resize(static_cast<std::size_t>(rows_));
    std::iota(groups_.begin(), groups_.end(), 0U);
    for (bool changed = true; changed;) {
      changed = false;
      for (const auto& [i, j] : close) {
        if (groups_[i] == groups_[j]) continue;
        groups_[i] = groups_[j] = std::min(groups_[i], groups_[j]);
        changed = true;
      }
    }
  }

  MineOptions options_;
  bool use_image_, use_text_;
  std::int64_t rows_ = 0;
  PlainRows image_, text_;
  std::vector<std::uint32_t> groups_;
};

inline std::vector<PlainPair> plain_pool(const Data& data, std::int64_t target,
                                         const MineOptions& options, Drops* drops = nullptr) {
  return PlainMiner(data, options).pool(target, drops);
}

// One pool of a table against the plain one: the same ids in the same order, scores of the same
// bits.
inline void check_pool(const std::vector<PlainPair>& expected, std::int64_t k,
                       const std::int64_t* ids, const float* scores, std::int64_t count) {
  REQUIRE(count == std::min<std::int64_t>(k, static_cast<std::int64_t>(expected.size())));
  bool same = true;
  std::int64_t wrong = -1;
  for (std::int64_t rank = 0; rank < k && same; ++rank) {
    const PlainPair wanted =
        rank < count ? expected[static_cast<std::size_t>(rank)] : PlainPair{0.0, -1};
    same = ids[rank] == wanted.id && scores[rank] == static_cast<float>(wanted.score);
    if (!same) wrong = rank;
  }
  if (!same) {
    const PlainPair wanted =
        wrong < count ? expected[static_cast<std::size_t>(wrong)] : PlainPair{0.0, -1};
    INFO("rank " << wrong << ": row " << ids[wrong] << " of score " << scores[wrong]
                 << " instead of row " << wanted.id << " of score " << wanted.score);
    REQUIRE(same);
  }
}

inline void check_target(const PlainMiner& plain, std::int64_t target, const HardPairs& pairs,
                         Drops* drops = nullptr) {
  INFO("target " << target);
  std::vector<std::int64_t> ids;
  std::vector<float> scores;
  for (std::int64_t rank = 0; rank < pairs.k(); ++rank) {
    ids.push_back(pairs.id(target, rank));
    scores.push_back(pairs.score(target, rank));
  }
  check_pool(plain.pool(target, drops), pairs.k(), ids.data(), scores.data(), pairs.count(target));
}

// Every pool, and what the report says was kept out of them.
inline void check_table(const PlainMiner& plain, const HardPairs& pairs) {
  REQUIRE(pairs.size() == plain.size());
  Drops drops;
  for (std::int64_t i = 0; i < pairs.size(); ++i) check_target(plain, i, pairs, &drops);
  const auto report = Json::parse(pairs.origin().report_json)["drops"];
  CHECK(report["image_duplicate"] == drops.image);
  CHECK(report["text_duplicate"] == drops.text);
  CHECK(report["margin"] == drops.margin);
  CHECK(report["collapsed"] == drops.collapsed);
  CHECK(report["skipped"] == drops.skipped);
}

inline void check_table(const Data& data, const MineOptions& options, const HardPairs& pairs) {
  check_table(PlainMiner(data, options), pairs);
}

// A team that reports to nobody.
struct SilentTeam {
  explicit SilentTeam(int threads = 2) : team(threads, silent) {}
  const ProgressCallback silent;
  Team team;
};

// Ids, scores and counts.
inline std::string table_of(const HardPairs& pairs) {
  std::string bytes;
  for (const MatrixView& view : {pairs.ids(), pairs.scores(), pairs.counts()}) {
    for (std::int64_t i = 0; i < view.rows; ++i) {
      bytes.append(static_cast<const char*>(view.row(i)),
                   static_cast<std::size_t>(view.cols * size_of(view.dtype)));
    }
  }
  return bytes;
}
// Every byte of a table that is kept.
inline std::string bytes_of(const HardPairs& pairs) {
  return table_of(pairs) + pairs.origin().options_json + pairs.origin().report_json;
}

// Selects a kernel for a scope.
class ForcedKernel {
 public:
  explicit ForcedKernel(const std::string& name) { set_kernel(name); }
  ~ForcedKernel() { set_kernel({}); }
};

inline Json report_of(const HardPairs& pairs) { return Json::parse(pairs.origin().report_json); }

inline MineOptions exact_options(std::int64_t k, int threads = 2) {
  MineOptions options;
  options.k = k;
  options.method = MiningMethod::exact;
  options.threads = threads;
  return options;
}

}  // namespace helip::testing
