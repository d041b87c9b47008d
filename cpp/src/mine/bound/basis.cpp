#include "mine/bound/basis.h"

#include <algorithm>
#include <cmath>

#include "mine/kernel/product_panels.h"

namespace helip::mining {
namespace {

constexpr int kPowerSteps = 2;

// out [n, m]: a [m, d] times b [n, d] transposed, and that transposed again.
std::vector<float> products_of(const float* a, std::int64_t m, const std::vector<float>& b,
                               std::int64_t n, std::int64_t d, const Kernel& kernel, Team& team) {
  const ProductPanels panels(b.data(), n, d, kernel);
  std::vector<float> out(static_cast<std::size_t>(m * n));
  team.for_blocks(
      (m + kProductRows - 1) / kProductRows, 1, [&](std::int64_t block, std::int64_t, int) {
        PackedRows packed(d, kernel);
        std::vector<float> some(static_cast<std::size_t>(kProductRows * panels.padded()));
        const std::int64_t first = block * kProductRows;
        const std::int64_t present = std::min(kProductRows, m - first);
        packed.pack(a + first * d, present);
        panels.multiply(packed.data(), packed.tiles(), some.data());
        for (std::int64_t c = 0; c < n; ++c) {
          float* to = out.data() + c * m + first;
          for (std::int64_t r = 0; r < present; ++r) {
            to[r] = some[static_cast<std::size_t>(r * panels.padded() + c)];
          }
        }
      });
  return out;
}

std::vector<float> transposed(const float* a, std::int64_t rows, std::int64_t cols) {
  std::vector<float> out(static_cast<std::size_t>(rows * cols));
  constexpr std::int64_t kBlock = 32;
  for (std::int64_t i0 = 0; i0 < rows; i0 += kBlock) {
    for (std::int64_t j0 = 0; j0 < cols; j0 += kBlock) {
      for (std::int64_t i = i0; i < std::min(rows, i0 + kBlock); ++i) {
        for (std::int64_t j = j0; j < std::min(cols, j0 + kBlock); ++j) {
          out[static_cast<std::size_t>(j * rows + i)] = a[i * cols + j];
        }
      }
    }
  }
  return out;
}

// Products of all pairs of rows, in float64. [count, count]
std::vector<double> gram(const std::vector<double>& rows, std::int64_t count,
                         std::int64_t dimensions, const Kernel& kernel, Team& team) {
  std::vector<double> out(static_cast<std::size_t>(count * count));
  team.for_blocks(count, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = 0; j <= i; ++j) {
        const double dot = kernel.dot_double(rows.data() + i * dimensions,
                                             rows.data() + j * dimensions, dimensions);
        out[static_cast<std::size_t>(i * count + j)] = dot;
        out[static_cast<std::size_t>(j * count + i)] = dot;
      }
    }
  });
  return out;
}

// Rows become orthonormal, each spanning with those before it what it spanned before (Cholesky QR,
// since once loses half of the digits best done twice in the end). Rows that depend on those before
// become zero.
void orthonormalise(std::vector<double>& rows, std::int64_t count, std::int64_t dimensions,
                    const Kernel& kernel, Team& team) {
  constexpr std::int64_t kColumns = 64;
  constexpr double kDependent = 1e-9;
  {
    std::vector<double> factor = gram(rows, count, dimensions, kernel, team);
    std::vector<bool> used(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) {
      double* row = factor.data() + i * count;
      const double own = row[i];
      for (std::int64_t j = 0; j < i; ++j) {
        if (!used[static_cast<std::size_t>(j)]) {
          row[j] = 0.0;
          continue;
        }
        const double* other = factor.data() + j * count;
        double value = row[j];
        for (std::int64_t k = 0; k < j; ++k) value -= row[k] * other[k];
        row[j] = value / other[j];
      }
      double rest = own;
      for (std::int64_t k = 0; k < i; ++k) rest -= row[k] * row[k];
      used[static_cast<std::size_t>(i)] = rest > kDependent * own && own > 0.0;
      row[i] = used[static_cast<std::size_t>(i)] ? std::sqrt(rest) : 0.0;
    }
    team.for_blocks(dimensions, kColumns, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = 0; i < count; ++i) {
        double* row = rows.data() + i * dimensions;
        const double* weights = factor.data() + i * count;
        if (!used[static_cast<std::size_t>(i)]) {
          std::fill(row + begin, row + end, 0.0);
          continue;
        }
        for (std::int64_t j = 0; j < i; ++j) {
          const double weight = weights[j];
          const double* other = rows.data() + j * dimensions;
          for (std::int64_t k = begin; k < end; ++k) row[k] -= weight * other[k];
        }
        for (std::int64_t k = begin; k < end; ++k) row[k] /= weights[i];
      }
    });
  }
}

}  // namespace

Basis principal_basis(const float* sample, std::int64_t rows, std::int64_t dimensions,
                      std::int64_t count, const Kernel& kernel, Team& team) {
  Basis basis;
  basis.count = count;
  basis.dimensions = dimensions;
  const std::vector<float> columns = transposed(sample, rows, dimensions);
  // Rows spread over the sample start the iteration.
  std::vector<double> vectors(static_cast<std::size_t>(count * dimensions));
  for (std::int64_t i = 0; i < count; ++i) {
    std::copy_n(sample + i * rows / count * dimensions, dimensions,
                vectors.begin() + i * dimensions);
  }
  orthonormalise(vectors, count, dimensions, kernel, team);
  for (int iteration = 0; iteration < kPowerSteps; ++iteration) {
    basis.vectors.assign(vectors.begin(), vectors.end());
    // [count, rows], then [count, dimensions]
    const std::vector<float> along =
        products_of(sample, rows, basis.vectors, count, dimensions, kernel, team);
    const std::vector<float> next =
        products_of(columns.data(), dimensions, along, count, rows, kernel, team);
    vectors.assign(next.begin(), next.end());
    orthonormalise(vectors, count, dimensions, kernel, team);
  }
  orthonormalise(vectors, count, dimensions, kernel, team);
  basis.vectors.assign(vectors.begin(), vectors.end());
  return basis;
}

// No row of a symmetric matrix sums to less, in absolute values, than its largest eigenvalue
// (Gershgorin).
void measure_excess(Basis& basis, const Kernel& kernel, Team& team) {
  const std::vector<double> rows(basis.vectors.begin(), basis.vectors.end());
  const std::vector<double> all = gram(rows, basis.count, basis.dimensions, kernel, team);
  double largest = 1.0;
  for (std::int64_t i = 0; i < basis.count; ++i) {
    double sum = 0.0;
    for (std::int64_t j = 0; j < basis.count; ++j) {
      sum += std::abs(all[static_cast<std::size_t>(i * basis.count + j)]);
    }
    largest = std::max(largest, sum);
  }
  basis.excess = largest - 1.0 + 1e-9;  // for the rounding of the products themselves
}

}  // namespace helip::mining
