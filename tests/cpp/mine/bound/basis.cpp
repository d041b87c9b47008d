// The leading directions of a sample: orthonormal, and holding what they should.
#include "mine/bound/basis.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <vector>

#include "support/mine_reference.h"

using namespace helip::mining;
using helip::testing::clustered_values;
using helip::testing::SilentTeam;

namespace {

std::vector<float> narrowed(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

double dot(const float* a, const float* b, std::int64_t n) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// `rows` combinations of `rank` directions.
std::vector<float> low_rank(std::int64_t rows, std::int64_t dimensions, std::int64_t rank) {
  const auto directions = clustered_values(rank, dimensions, 1, 1.0, 3);
  const auto weights = clustered_values(rows, rank, 1, 1.0, 4);
  std::vector<float> sample;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t d = 0; d < dimensions; ++d) {
      double sum = 0.0;
      for (std::int64_t r = 0; r < rank; ++r) {
        sum += weights[static_cast<std::size_t>(i * rank + r)] *
               directions[static_cast<std::size_t>(r * dimensions + d)];
      }
      sample.push_back(static_cast<float>(sum));
    }
  }
  return sample;
}

double energy(const std::vector<float>& sample) {
  double sum = 0.0;
  for (const float value : sample) sum += static_cast<double>(value) * value;
  return sum;
}

double held_energy(const std::vector<float>& sample, std::int64_t rows, const Basis& basis) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t b = 0; b < basis.count; ++b) {
      const double along = dot(sample.data() + i * basis.dimensions,
                               basis.vectors.data() + b * basis.dimensions, basis.dimensions);
      sum += along * along;
    }
  }
  return sum;
}

// The largest eigenvalue of V·Vᵀ, by the power method.
double largest_eigenvalue(const Basis& basis) {
  const std::int64_t n = basis.dimensions;
  double best = 0.0;
  for (unsigned seed = 1; seed <= 5; ++seed) {
    auto v = clustered_values(1, basis.count, 1, 1.0, seed);
    double value = 0.0;
    for (int step = 0; step < 300; ++step) {
      std::vector<double> along(static_cast<std::size_t>(n));
      for (std::int64_t b = 0; b < basis.count; ++b) {
        for (std::int64_t d = 0; d < n; ++d) {
          along[static_cast<std::size_t>(d)] +=
              v[static_cast<std::size_t>(b)] * basis.vectors[static_cast<std::size_t>(b * n + d)];
        }
      }
      double length = 0.0;
      for (std::int64_t b = 0; b < basis.count; ++b) {
        double sum = 0.0;
        for (std::int64_t d = 0; d < n; ++d) {
          sum += along[static_cast<std::size_t>(d)] *
                 basis.vectors[static_cast<std::size_t>(b * n + d)];
        }
        v[static_cast<std::size_t>(b)] = sum;
        length += sum * sum;
      }
      value = std::sqrt(length);
      if (value == 0.0) break;
      for (double& x : v) x /= value;
    }
    best = std::max(best, value);
  }
  return best;
}

void check_orthonormal(const Basis& basis) {
  for (std::int64_t a = 0; a < basis.count; ++a) {
    for (std::int64_t b = 0; b <= a; ++b) {
      const double product = dot(basis.vectors.data() + a * basis.dimensions,
                                 basis.vectors.data() + b * basis.dimensions, basis.dimensions);
      INFO("directions " << a << " and " << b);
      if (a == b) {
        REQUIRE((std::abs(product - 1.0) < 1e-5 || product == 0.0));
      } else {
        REQUIRE(std::abs(product) < 1e-5);
      }
    }
  }
}

}  // namespace

TEST_CASE("directions are orthonormal and no eigenvalue exceeds the excess", "[basis]") {
  SilentTeam silent;
  struct Shape {
    std::int64_t rows, dimensions, count;
  };
  for (const Kernel* kernel : available_kernels()) {
    for (const Shape& s : {Shape{64, 64, 64}, Shape{300, 90, 64}, Shape{128, 200, 128},
                           Shape{70, 5, 3}, Shape{1, 9, 1}}) {
      INFO(kernel->name << ": " << s.count << " of " << s.rows << " x " << s.dimensions);
      const auto sample = narrowed(clustered_values(s.rows, s.dimensions, 7, 0.5, 5));
      Basis basis =
          principal_basis(sample.data(), s.rows, s.dimensions, s.count, *kernel, silent.team);
      REQUIRE(basis.count == s.count);
      REQUIRE(basis.dimensions == s.dimensions);
      REQUIRE(static_cast<std::int64_t>(basis.vectors.size()) == s.count * s.dimensions);
      check_orthonormal(basis);
      measure_excess(basis, *kernel, silent.team);
      REQUIRE(basis.excess >= largest_eigenvalue(basis) - 1.0);
      REQUIRE(basis.excess < 1e-3);
    }
  }
}

TEST_CASE("the excess is that of whatever the directions are", "[basis]") {
  SilentTeam silent;
  Basis basis;
  basis.count = 40;
  basis.dimensions = 60;
  basis.vectors = narrowed(clustered_values(40, 60, 3, 0.5, 6));
  measure_excess(basis, *kernel_portable(), silent.team);
  REQUIRE(basis.excess >= largest_eigenvalue(basis) - 1.0);
  basis.count = 0;
  basis.vectors.clear();
  measure_excess(basis, *kernel_portable(), silent.team);
  REQUIRE(basis.excess >= 0.0);
  REQUIRE(basis.excess < 1e-6);
}

TEST_CASE("a sample of low rank lies in its leading directions, the others are zero", "[basis]") {
  SilentTeam silent;
  for (const Kernel* kernel : available_kernels()) {
    INFO(kernel->name);
    const auto sample = low_rank(400, 130, 20);
    const Basis exact = principal_basis(sample.data(), 400, 130, 20, *kernel, silent.team);
    check_orthonormal(exact);
    REQUIRE(held_energy(sample, 400, exact) > (1.0 - 1e-6) * energy(sample));
    Basis wide = principal_basis(sample.data(), 400, 130, 64, *kernel, silent.team);
    check_orthonormal(wide);
    REQUIRE(held_energy(sample, 400, wide) > (1.0 - 1e-6) * energy(sample));
    measure_excess(wide, *kernel, silent.team);
    REQUIRE(wide.excess < 1e-3);
  }
}

TEST_CASE("directions hold most of what lies along a few of many", "[basis]") {
  SilentTeam silent;
  // Energy falls off as 1 / i².
  auto values = clustered_values(500, 120, 1, 1.0, 8);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] /= static_cast<double>(1 + i % 120);
  const auto sample = narrowed(values);
  const Basis basis = principal_basis(sample.data(), 500, 120, 10, *kernel_portable(), silent.team);
  double best = 0.0;  // of the first ten coordinates, a lower limit of what ten directions can hold
  for (std::size_t i = 0; i < sample.size(); ++i) {
    if (i % 120 < 10) best += static_cast<double>(sample[i]) * sample[i];
  }
  REQUIRE(held_energy(sample, 500, basis) > 0.98 * best);
}

TEST_CASE("equal rows have one direction, zero rows none", "[basis]") {
  SilentTeam silent;
  for (const Kernel* kernel : available_kernels()) {
    INFO(kernel->name);
    std::vector<float> sample;
    for (int i = 0; i < 100; ++i) {
      for (int d = 0; d < 70; ++d) sample.push_back(0.1F + 0.01F * static_cast<float>(d));
    }
    Basis basis = principal_basis(sample.data(), 100, 70, 64, *kernel, silent.team);
    check_orthonormal(basis);
    REQUIRE(held_energy(sample, 100, basis) > (1.0 - 1e-6) * energy(sample));
    std::int64_t used = 0;
    for (std::int64_t b = 0; b < basis.count; ++b) {
      used += dot(basis.vectors.data() + b * 70, basis.vectors.data() + b * 70, 70) > 0.0 ? 1 : 0;
    }
    REQUIRE(used < 64);
    measure_excess(basis, *kernel, silent.team);
    REQUIRE(basis.excess < 1e-3);

    std::fill(sample.begin(), sample.end(), 0.0F);
    basis = principal_basis(sample.data(), 100, 70, 64, *kernel, silent.team);
    REQUIRE(energy(basis.vectors) == 0.0);
  }
}

TEST_CASE("directions are the same for any number of threads", "[basis]") {
  SilentTeam one(1), three(3);
  const auto sample = narrowed(clustered_values(300, 100, 9, 0.6, 7));
  Basis a = principal_basis(sample.data(), 300, 100, 64, *kernel_portable(), one.team);
  Basis b = principal_basis(sample.data(), 300, 100, 64, *kernel_portable(), three.team);
  measure_excess(a, *kernel_portable(), one.team);
  measure_excess(b, *kernel_portable(), three.team);
  REQUIRE(a.vectors == b.vectors);
  REQUIRE(a.excess == b.excess);
}
