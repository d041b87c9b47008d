// Inner loops: every build agrees with the plain sums.
#include "mine/kernel.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "mine/filter.h"

using namespace helip::mining;

namespace {

std::vector<float> random_floats(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

struct alignas(64) Panels {
  float columns[200 * kTileColumns];
  float tile[kTileRows * kTileColumns];
};

}  // namespace

TEST_CASE("the portable kernel can run everywhere", "[kernel]") {
  REQUIRE(std::string(available_kernels().back()->name) == "portable");
}

TEST_CASE("tiles hold dot products within the error bound", "[kernel]") {
  for (const Kernel* kernel : available_kernels()) {
    for (const std::int64_t depth : {1, 2, 63, 200}) {
      INFO(kernel->name << ", depth " << depth);
      const auto rows = random_floats(static_cast<std::size_t>(depth * kTileRows), 1);
      const auto columns = random_floats(static_cast<std::size_t>(depth * kTileColumns), 2);
      Panels panels;
      std::copy(columns.begin(), columns.end(), panels.columns);
      kernel->similarities(rows.data(), panels.columns, depth, panels.tile);
      for (int r = 0; r < kTileRows; ++r) {
        for (int c = 0; c < kTileColumns; ++c) {
          double dot = 0, size = 0;
          for (std::int64_t k = 0; k < depth; ++k) {
            const double product =
                static_cast<double>(rows[static_cast<std::size_t>(k * kTileRows + r)]) *
                panels.columns[k * kTileColumns + c];
            dot += product;
            size += std::abs(product);
          }
          REQUIRE(std::abs(panels.tile[r * kTileColumns + c] - dot) <= float32_error(depth) * size);
        }
      }
    }
  }
}

TEST_CASE("float64 and graph dot products have the same bits in every build", "[kernel]") {
  for (const std::size_t n : {1U, 31U, 64U, 100U, 513U}) {
    const auto a = random_floats(n, 3);
    const auto b = random_floats(n, 4);
    const std::vector<double> wide(a.begin(), a.end());
    const std::vector<double> other(b.begin(), b.end());
    const Kernel& portable = *kernel_portable();
    const auto size = static_cast<std::int64_t>(n);
    double plain = 0;
    for (std::size_t i = 0; i < n; ++i) plain += wide[i] * other[i];
    REQUIRE(std::abs(portable.dot_float(wide.data(), b.data(), size) - plain) < 1e-11);
    for (const Kernel* kernel : available_kernels()) {
      INFO(kernel->name << ", n = " << n);
      REQUIRE(kernel->dot_float(wide.data(), b.data(), size) ==
              portable.dot_float(wide.data(), b.data(), size));
      REQUIRE(kernel->dot_double(wide.data(), other.data(), size) ==
              portable.dot_double(wide.data(), other.data(), size));
      REQUIRE(kernel->dot_short(a.data(), b.data(), size) ==
              portable.dot_short(a.data(), b.data(), size));
    }
  }
}

TEST_CASE("interleaving turns rows into depths", "[kernel]") {
  for (const Kernel* kernel : available_kernels()) {
    for (const int lanes : {kTileRows, kTileColumns}) {
      for (const std::int64_t n : {1, 16, 37}) {
        const auto in = random_floats(static_cast<std::size_t>(n * lanes), 5);
        std::vector<float> out(in.size());
        kernel->interleave(in.data(), n, lanes, out.data());
        for (std::int64_t k = 0; k < n; ++k) {
          for (int r = 0; r < lanes; ++r) {
            REQUIRE(out[static_cast<std::size_t>(k * lanes + r)] ==
                    in[static_cast<std::size_t>(r * n + k)]);
          }
        }
      }
    }
  }
}

TEST_CASE("screening gives the same hits and counts in every build", "[kernel]") {
  auto image = random_floats(kTileColumns, 6);
  auto text = random_floats(kTileColumns, 7);
  for (float& value : image) value = 0.5F + 0.4F * value;
  for (float& value : text) value = 0.5F + 0.4F * value;
  const std::vector<float> threshold(kTileColumns, 0.4F);
  for (const bool is_signed : {false, true}) {
    const ScreenLimits limits{0.9F,  0.8F,  0.91F, 0.81F, 0.89F,
                              0.79F, -0.1F, -0.1F, 0.05F, is_signed};
    const ScreenRow row{image.data(), text.data(), threshold.data(), 0.2F, 0xfff7ffefU};
    float score[kTileColumns];
    DropCounts wanted;
    const ScreenHits hits = kernel_portable()->screen(row, limits, score, wanted);
    REQUIRE(wanted.scored == 30);
    REQUIRE((hits.row & ~row.valid) == 0);
    REQUIRE((hits.column & ~hits.row) == 0);  // its threshold is the higher one
    REQUIRE(hits.row != 0);
    for (const Kernel* kernel : available_kernels()) {
      DropCounts counts;
      const ScreenHits same = kernel->screen(row, limits, score, counts);
      REQUIRE(same.row == hits.row);
      REQUIRE(same.column == hits.column);
      REQUIRE(same.doubt == hits.doubt);
      REQUIRE(counts.image_duplicate == wanted.image_duplicate);
      REQUIRE(counts.text_duplicate == wanted.text_duplicate);
      REQUIRE(counts.nonpositive == wanted.nonpositive);
      REQUIRE(counts.below_min_score == wanted.below_min_score);
    }
  }
}
