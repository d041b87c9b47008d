// Products of a few vectors with a fixed set of others, within the bound that is stated.
#include "mine/kernel/product_panels.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <random>
#include <vector>

using namespace helip::mining;

namespace {

std::vector<float> random_floats(std::int64_t count, unsigned seed, float shift) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random) + shift;
  return values;
}

}  // namespace

TEST_CASE("products of panels are within their error of the float64 ones", "[product_panels]") {
  struct Shape {
    std::int64_t count, depth, rows;
  };
  for (const Kernel* kernel : available_kernels()) {
    for (const Shape& s : {Shape{1, 1, 1}, Shape{31, 7, 12}, Shape{32, 128, 13}, Shape{65, 129, 48},
                           Shape{40, 300, 37}, Shape{3, 1000, 5}}) {
      for (const float shift : {0.0F, 4.0F}) {  // without and with cancellation
        INFO(kernel->name << ": " << s.count << " of depth " << s.depth << ", " << s.rows);
        const auto vectors = random_floats(s.count * s.depth, 1, shift);
        const auto rows = random_floats(s.rows * s.depth, 2, 0.0F);
        const ProductPanels panels(vectors.data(), s.count, s.depth, *kernel);
        REQUIRE(panels.count() == s.count);
        REQUIRE(panels.depth() == s.depth);
        REQUIRE(panels.padded() % kTileColumns == 0);
        PackedRows packed(s.depth, *kernel);
        packed.pack(rows.data(), s.rows);
        REQUIRE(packed.tiles() == (s.rows + kTileRows - 1) / kTileRows);
        std::vector<float> out(
            static_cast<std::size_t>(packed.tiles() * kTileRows * panels.padded()), 7.0F);
        panels.multiply(packed.data(), packed.tiles(), out.data());
        for (std::int64_t r = 0; r < packed.tiles() * kTileRows; ++r) {
          for (std::int64_t c = 0; c < panels.padded(); ++c) {
            double dot = 0.0, size = 0.0;
            for (std::int64_t k = 0; k < s.depth && r < s.rows && c < s.count; ++k) {
              const double product =
                  static_cast<double>(rows[static_cast<std::size_t>(r * s.depth + k)]) *
                  vectors[static_cast<std::size_t>(c * s.depth + k)];
              dot += product;
              size += std::abs(product);
            }
            const double given = out[static_cast<std::size_t>(r * panels.padded() + c)];
            REQUIRE(std::abs(given - dot) <= product_error(s.depth) * size);
          }
        }
      }
    }
  }
}

TEST_CASE("rows that are packed again leave nothing of those before", "[product_panels]") {
  const Kernel& kernel = *kernel_portable();
  const auto vectors = random_floats(5 * 20, 3, 0.0F);
  const auto rows = random_floats(kProductRows * 20, 4, 0.0F);
  const ProductPanels panels(vectors.data(), 5, 20, kernel);
  PackedRows packed(20, kernel);
  packed.pack(rows.data(), kProductRows);
  packed.pack(rows.data(), 2);
  REQUIRE(packed.tiles() == 1);
  std::vector<float> out(static_cast<std::size_t>(kTileRows * panels.padded()));
  panels.multiply(packed.data(), 1, out.data());
  for (std::int64_t r = 2; r < kTileRows; ++r) {
    for (std::int64_t c = 0; c < 5; ++c) {
      REQUIRE(out[static_cast<std::size_t>(r * panels.padded() + c)] == 0.0F);
    }
  }
}

TEST_CASE("the error of products grows with their number, slower beyond a run",
          "[product_panels]") {
  REQUIRE(product_error(1) >= 0x1p-24);
  REQUIRE(product_error(64) < product_error(kProductRun));
  REQUIRE(product_error(kProductRun) < product_error(10 * kProductRun));
  REQUIRE(product_error(10 * kProductRun) < 2.0 * product_error(kProductRun));
}
