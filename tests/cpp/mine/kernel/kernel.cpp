// Inner loops: every build agrees with the plain sums.
#include "mine/kernel/kernel.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "helip/kernel.h"
#include "mine/kernel/product_panels.h"
#include "support/expect_error.h"
#include "support/mine_reference.h"

using namespace helip::mining;
using helip::testing::ForcedKernel;
using helip::testing::lane_dot;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

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

// Vectors of codes, each on a cache line of its own.
class CodeRows {
 public:
  CodeRows(std::int64_t rows, std::int64_t depth)
      : depth_(depth),
        stride_((depth + 63) / 64 * 64),
        values_(allocate_aligned<std::int8_t>(rows * stride_)) {
    std::fill_n(values_.get(), rows * stride_, std::int8_t{0});
    for (std::int64_t r = 0; r < rows; ++r) pointers_.push_back(row(r));
  }
  std::int8_t* row(std::int64_t r) { return values_.get() + r * stride_; }
  const std::int8_t* row(std::int64_t r) const { return values_.get() + r * stride_; }
  const std::int8_t* const* pointers() const { return pointers_.data(); }
  std::int64_t dot(std::int64_t r, const CodeRows& other, std::int64_t c) const {
    std::int64_t sum = 0;
    for (std::int64_t k = 0; k < depth_; ++k) sum += row(r)[k] * other.row(c)[k];
    return sum;
  }

 private:
  std::int64_t depth_, stride_;
  AlignedArray<std::int8_t> values_;
  std::vector<const std::int8_t*> pointers_;
};

// Draws the codes of each chunk in to the norm that the kernel can hold.
void keep_norm(std::int8_t* codes, std::int64_t depth, double most) {
  if (most == 0.0) return;
  for (std::int64_t begin = 0; begin < depth; begin += kCodeChunk) {
    const std::int64_t end = std::min(depth, begin + kCodeChunk);
    double sum = 0.0;
    for (std::int64_t k = begin; k < end; ++k) sum += codes[k] * codes[k];
    if (sum <= most * most) continue;
    for (std::int64_t k = begin; k < end; ++k) {
      codes[k] = static_cast<std::int8_t>(codes[k] * most / std::sqrt(sum));
    }
  }
}

enum class Fill { normal, extreme, alike, opposite };

// As large as the kernel takes them. `alike`: few dimensions hold all of the norm of a chunk, in
// all vectors the same, so that sums are the greatest there can be; `opposite`: the least.
void fill_codes(CodeRows& out, std::int64_t rows, std::int64_t depth, const CodeLimits& limits,
                Fill fill, bool columns, std::mt19937& random) {
  const auto largest = static_cast<double>(limits.largest);
  std::normal_distribution<double> normal(0.0, largest / 2.0);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t k = 0; k < depth; ++k) {
      double value = 0.0;
      switch (fill) {
        case Fill::normal: value = std::clamp(std::round(normal(random)), -largest, largest); break;
        case Fill::extreme: value = random() % 2 == 0 ? largest : -largest; break;
        case Fill::alike:
        case Fill::opposite: {
          // Sums of the codes 0, 1 and 2, 3 of a group are kept apart by some kernels.
          const bool used = limits.chunk_norm == 0.0 || k % kCodeChunk % 64 < 2;
          value = used ? (fill == Fill::opposite && columns ? -largest : largest) : 0.0;
          break;
        }
      }
      out.row(r)[k] = static_cast<std::int8_t>(value);
    }
    keep_norm(out.row(r), depth, limits.chunk_norm);
  }
}

float nextafter_up(float value) { return std::nextafter(value, kInfinity); }

}  // namespace

TEST_CASE("the portable kernel can run everywhere", "[kernel]") {
  REQUIRE(std::string(available_kernels().back()->name) == "portable");
  REQUIRE(helip::kernel_names().back() == "portable");
}

TEST_CASE("mining runs on the kernel that is set, and on the fastest again", "[kernel]") {
  const std::string fastest = helip::kernel_name();
  for (const Kernel* kernel : available_kernels()) {
    const ForcedKernel forced(kernel->name);
    REQUIRE(&select_kernel() == kernel);
    REQUIRE(helip::kernel_name() == kernel->name);
  }
  REQUIRE(helip::kernel_name() == fastest);
}

TEST_CASE("an unknown kernel is refused by name, and the one before stays", "[kernel]") {
  const std::string before = helip::kernel_name();
  expect_error(helip::ErrorCode::invalid_argument, "the kernel is 'abacus'",
               [] { helip::set_kernel("abacus"); });
  REQUIRE(helip::kernel_name() == before);
}

TEST_CASE("a variable that is set after a kernel was asked for changes nothing", "[kernel]") {
  const std::string before = helip::kernel_name();
  setenv("HELIP_KERNEL", "abacus", 1);
  helip::set_kernel({});
  unsetenv("HELIP_KERNEL");
  REQUIRE(helip::kernel_name() == before);
}

TEST_CASE("tiles of codes hold the plain integer products", "[kernel]") {
  std::mt19937 random(11);
  for (const Kernel* kernel : available_kernels()) {
    for (const std::int64_t depth : {4, 8, 64, 128, 252, 256, 260, 384, 512, 1000, 1700}) {
      const auto row_panel = allocate_aligned<std::uint8_t>(row_panel_bytes(depth));
      const auto column_panel = allocate_aligned<std::int8_t>(column_panel_bytes(depth));
      const auto tile = allocate_aligned<std::int32_t>(kTileRows * kTileColumns);
      for (const Fill fill : {Fill::normal, Fill::extreme, Fill::alike, Fill::opposite}) {
        INFO(kernel->name << ", depth " << depth << ", fill " << static_cast<int>(fill));
        CodeRows rows(kTileRows, depth), columns(kTileColumns, depth);
        fill_codes(rows, kTileRows, depth, kernel->limits, fill, false, random);
        fill_codes(columns, kTileColumns, depth, kernel->limits, fill, true, random);
        kernel->pack_row_codes(rows.pointers(), depth, row_panel.get());
        kernel->pack_column_codes(columns.pointers(), depth, column_panel.get());
        kernel->code_products(row_panel.get(), column_panel.get(), depth, tile.get());
        std::int64_t wrong = 0;
        for (int r = 0; r < kTileRows; ++r) {
          for (int c = 0; c < kTileColumns; ++c) {
            wrong += tile[static_cast<std::size_t>(r * kTileColumns + c)] != rows.dot(r, columns, c)
                         ? 1
                         : 0;
          }
        }
        REQUIRE(wrong == 0);
      }
    }
  }
}

TEST_CASE("gathered products are the plain ones after the correction", "[kernel]") {
  std::mt19937 random(12);
  std::uniform_int_distribution<int> any(-127, 127);
  for (const Kernel* kernel : available_kernels()) {
    for (const std::int64_t depth : {64, 128, 192, 640, 1728}) {
      for (const std::int64_t count : {1, 2, 3, 4, 5, 8, 13}) {
        for (const bool extreme : {false, true}) {
          INFO(kernel->name << ", depth " << depth << ", " << count << " columns");
          CodeRows row(1, depth), columns(count, depth);
          for (std::int64_t k = 0; k < depth; ++k) {
            row.row(0)[k] = static_cast<std::int8_t>(extreme ? 127 : any(random));
          }
          for (std::int64_t i = 0; i < count; ++i) {
            for (std::int64_t k = 0; k < depth; ++k) {
              const int sign = i % 2 == 0 ? 127 : -127;
              columns.row(i)[k] = static_cast<std::int8_t>(extreme ? sign : any(random));
            }
          }
          std::vector<std::int32_t> out(static_cast<std::size_t>(count) + 1, 42);
          kernel->gather_products(row.row(0), columns.pointers(), count, depth, out.data());
          for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t sum = kernel->sum_codes(columns.row(i), depth);
            REQUIRE(out[static_cast<std::size_t>(i)] - kernel->limits.gather_offset * sum ==
                    row.dot(0, columns, i));
          }
          REQUIRE(out.back() == 42);
        }
      }
    }
  }
}

TEST_CASE("gathered products of four-bit codes are the plain ones", "[kernel]") {
  std::mt19937 random(13);
  for (const Kernel* kernel : available_kernels()) {
    for (const std::int64_t depth : {128, 256, 640, 1792}) {
      for (const bool extreme : {false, true}) {
        INFO(kernel->name << ", depth " << depth);
        constexpr std::int64_t kCount = 5;
        CodeRows row(1, depth), packed(kCount, depth / 2), plain(kCount, depth);
        for (std::int64_t k = 0; k < depth; ++k) {
          row.row(0)[k] =
              static_cast<std::int8_t>(extreme ? 127 : static_cast<int>(random() % 255) - 127);
        }
        for (std::int64_t i = 0; i < kCount; ++i) {
          for (std::int64_t k = 0; k < depth; ++k) {
            const int nibble = extreme ? (i % 2 == 0 ? 15 : 0) : static_cast<int>(random() % 16);
            plain.row(i)[k] = static_cast<std::int8_t>(nibble - 8);
            std::int8_t& byte = packed.row(i)[k / 128 * 64 + k % 64];
            byte = static_cast<std::int8_t>(byte | (k % 128 < 64 ? nibble : nibble << 4));
          }
        }
        std::vector<std::int32_t> out(kCount);
        kernel->gather_fine(row.row(0), packed.pointers(), kCount, depth, out.data());
        for (std::int64_t i = 0; i < kCount; ++i) {
          REQUIRE(out[static_cast<std::size_t>(i)] == row.dot(0, plain, i));
        }
      }
    }
  }
}

TEST_CASE("a prefilter lets pass what reaches the lower threshold, and nothing clearly below",
          "[kernel]") {
  std::mt19937 random(14);
  std::normal_distribution<float> normal;
  const auto products = allocate_aligned<std::int32_t>(kTileRows * kTileColumns);
  for (const bool absolute : {false, true}) {
    for (int round = 0; round < 20; ++round) {
      for (int i = 0; i < kTileRows * kTileColumns; ++i) {
        products[static_cast<std::size_t>(i)] =
            static_cast<std::int32_t>(20000.0F * normal(random));
      }
      struct alignas(64) Sides {
        float row_offset[kTileRows], row_tail[kTileRows], row_threshold[kTileRows];
        float column_offset[kTileColumns], column_tail[kTileColumns],
            column_threshold[kTileColumns];
      } sides;
      const auto fill = [&](float* offset, float* tail, float* threshold, int count) {
        for (int i = 0; i < count; ++i) {
          offset[i] = 3000.0F * normal(random);
          tail[i] = 50.0F * std::abs(normal(random));
          threshold[i] = 20000.0F * normal(random);
          const auto kind = random() % 8;
          if (kind == 0) threshold[i] = kInfinity;
          if (kind == 1) threshold[i] = -kInfinity;
          if (kind == 2) tail[i] = 0.0F;
        }
      };
      fill(sides.row_offset, sides.row_tail, sides.row_threshold, kTileRows);
      fill(sides.column_offset, sides.column_tail, sides.column_threshold, kTileColumns);
      const Prefilter job{products.get(),
                          {sides.row_offset, sides.row_tail, sides.row_threshold},
                          {sides.column_offset, sides.column_tail, sides.column_threshold},
                          absolute};
      for (const Kernel* kernel : available_kernels()) {
        INFO(kernel->name << ", absolute " << absolute << ", round " << round);
        std::uint32_t hits[kTileRows];
        kernel->prefilter(job, hits);
        std::int64_t wrong = 0;
        for (int r = 0; r < kTileRows; ++r) {
          for (int c = 0; c < kTileColumns; ++c) {
            double bound =
                static_cast<double>(products[static_cast<std::size_t>(r * kTileColumns + c)]) +
                sides.row_offset[r] + sides.column_offset[c];
            if (absolute) bound = std::abs(bound);
            bound += static_cast<double>(sides.row_tail[r]) * sides.column_tail[c];
            const double threshold = std::min(sides.row_threshold[r], sides.column_threshold[c]);
            const bool hit = (hits[r] >> c & 1U) != 0;
            // Float32 rounding of numbers up to some 10^5.
            if (std::abs(bound - threshold) < 0.1) continue;
            wrong += hit != (bound >= threshold) ? 1 : 0;
          }
        }
        REQUIRE(wrong == 0);
      }
    }
  }
}

TEST_CASE("a prefilter counts what equals the threshold as reaching it", "[kernel]") {
  const auto products = allocate_aligned<std::int32_t>(kTileRows * kTileColumns);
  std::fill_n(products.get(), kTileRows * kTileColumns, -100);
  struct alignas(64) Sides {
    float zeros[kTileColumns] = {};
    float one[kTileColumns], other[kTileColumns];
  } sides;
  for (const Kernel* kernel : available_kernels()) {
    INFO(kernel->name);
    for (const bool absolute : {false, true}) {
      const float value = absolute ? 100.0F : -100.0F;
      const auto hits_at = [&](float row_threshold, float column_threshold) {
        std::fill_n(sides.one, kTileColumns, row_threshold);
        std::fill_n(sides.other, kTileColumns, column_threshold);
        std::uint32_t hits[kTileRows];
        kernel->prefilter({products.get(),
                           {sides.zeros, sides.zeros, sides.one},
                           {sides.zeros, sides.zeros, sides.other},
                           absolute},
                          hits);
        REQUIRE(std::all_of(hits, hits + kTileRows, [&](auto h) { return h == hits[0]; }));
        return hits[0];
      };
      REQUIRE(hits_at(value, kInfinity) == ~0U);
      REQUIRE(hits_at(kInfinity, value) == ~0U);
      REQUIRE(hits_at(nextafter_up(value), kInfinity) == 0U);
      REQUIRE(hits_at(kInfinity, nextafter_up(value)) == 0U);
      REQUIRE(hits_at(kInfinity, kInfinity) == 0U);
      REQUIRE(hits_at(-kInfinity, kInfinity) == ~0U);
    }
  }
}

TEST_CASE("tiles hold dot products within the error bound", "[kernel]") {
  for (const Kernel* kernel : available_kernels()) {
    for (const std::int64_t depth : {1, 2, 63, 128}) {
      INFO(kernel->name << ", depth " << depth);
      const auto rows = random_floats(static_cast<std::size_t>(depth * kTileRows), 1);
      const auto columns = random_floats(static_cast<std::size_t>(depth * kTileColumns), 2);
      Panels panels;
      std::copy(columns.begin(), columns.end(), panels.columns);
      kernel->products(rows.data(), panels.columns, depth, panels.tile);
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
          REQUIRE(std::abs(panels.tile[r * kTileColumns + c] - dot) <= product_error(depth) * size);
        }
      }
    }
  }
}

TEST_CASE("float64 and graph dot products have the same bits in every build", "[kernel]") {
  for (const std::size_t n : {1U, 31U, 32U, 64U, 100U, 513U, 768U}) {
    const auto a = random_floats(n, 3);
    const auto b = random_floats(n, 4);
    const std::vector<double> wide(a.begin(), a.end());
    const std::vector<double> other(b.begin(), b.end());
    std::vector<double> precise = wide;  // products that float64 has to round
    for (double& value : precise) value = std::sin(value);
    const auto size = static_cast<std::int64_t>(n);
    const float graph = kernel_portable()->dot_short(a.data(), b.data(), size);
    REQUIRE(std::abs(static_cast<double>(graph) - lane_dot(wide.data(), other.data(), n)) < 1e-3);
    for (const Kernel* kernel : available_kernels()) {
      INFO(kernel->name << ", n = " << n);
      const double wanted = lane_dot(wide.data(), other.data(), n);
      REQUIRE(kernel->dot_float(a.data(), b.data(), size) == wanted);
      REQUIRE(kernel->dot_float(b.data(), a.data(), size) == wanted);
      REQUIRE(kernel->dot_mixed(wide.data(), b.data(), size) == wanted);
      REQUIRE(kernel->dot_double(wide.data(), other.data(), size) == wanted);
      REQUIRE(kernel->dot_double(precise.data(), other.data(), size) ==
              lane_dot(precise.data(), other.data(), n));
      REQUIRE(kernel->dot_short(a.data(), b.data(), size) == graph);
    }
  }
}

TEST_CASE("scaling rounds the float64 product once", "[kernel]") {
  for (const Kernel* kernel : available_kernels()) {
    const auto in = random_floats(77, 5);
    std::vector<float> out(in.size());
    kernel->scale(in.data(), 77, 1.0 / 3.0, out.data());
    for (std::size_t i = 0; i < in.size(); ++i) {
      REQUIRE(out[i] == static_cast<float>(static_cast<double>(in[i]) * (1.0 / 3.0)));
    }
  }
}

TEST_CASE("codes are the closest within their range, and what they miss is measured", "[kernel]") {
  for (const Kernel* kernel : available_kernels()) {
    for (const std::size_t n : {1U, 31U, 64U, 100U, 768U}) {
      for (const int largest : {8, 90, 127}) {
        INFO(kernel->name << ", n = " << n << ", largest " << largest);
        const auto x = random_floats(n, 6);
        const float scale = 2.0F / static_cast<float>(largest);  // some lie beyond the range
        std::vector<std::int8_t> codes(n + 1, 99);
        const auto size = static_cast<std::int64_t>(n);
        const float given = kernel->round_codes(x.data(), size, scale, largest, codes.data());
        REQUIRE(codes.back() == 99);
        double missed = 0.0;
        std::int32_t sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
          const double exact = static_cast<double>(x[i]) / scale;
          const double code = std::clamp(exact, -1.0 * largest, 1.0 * largest);
          REQUIRE(std::abs(codes[i]) <= largest);
          REQUIRE(std::abs(codes[i] - code) <= 0.5 + 1e-4);
          const double rest = static_cast<double>(x[i]) - static_cast<double>(scale) * codes[i];
          missed += rest * rest;
          sum += codes[i];
        }
        REQUIRE(std::abs(given - missed) <= 1e-5 * missed + 1e-9);
        REQUIRE(kernel->missed(x.data(), size, scale, codes.data()) == given);
        REQUIRE(kernel->sum_codes(codes.data(), size) == sum);
        codes[0] = static_cast<std::int8_t>(codes[0] > 0 ? codes[0] - 1 : codes[0] + 1);
        const double changed = static_cast<double>(x[0]) - static_cast<double>(scale) * codes[0];
        REQUIRE(kernel->missed(x.data(), size, scale, codes.data()) >= 0.99 * changed * changed);
      }
    }
  }
}

TEST_CASE("lengths and largest values are those of plain loops", "[kernel]") {
  for (const Kernel* kernel : available_kernels()) {
    for (const std::size_t n : {0U, 1U, 31U, 33U, 64U, 700U}) {
      INFO(kernel->name << ", n = " << n);
      auto x = random_floats(n, 7);
      if (n > 0) x[n - 1] = -9.0F;
      double squared = 0.0;
      float largest = 0.0F;
      for (const float value : x) {
        squared += static_cast<double>(value) * value;
        largest = std::max(largest, std::abs(value));
      }
      const auto size = static_cast<std::int64_t>(n);
      REQUIRE(kernel->largest(x.data(), size) == largest);
      REQUIRE(std::abs(kernel->squared_length(x.data(), size) - squared) <= 1e-5 * squared);
    }
  }
}

TEST_CASE("spreading keeps lengths and products, and spreads a single coordinate", "[kernel]") {
  for (const Kernel* kernel : available_kernels()) {
    for (const std::int64_t n : {64, 128, 192, 768}) {
      INFO(kernel->name << ", n = " << n);
      const auto a = random_floats(static_cast<std::size_t>(n), 8);
      const auto b = random_floats(static_cast<std::size_t>(n), 9);
      auto spread_a = a, spread_b = b;
      kernel->spread(spread_a.data(), n);
      kernel->spread(spread_b.data(), n);
      const auto dot = [n](const std::vector<float>& x, const std::vector<float>& y) {
        double sum = 0.0;
        for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
          sum += static_cast<double>(x[i]) * y[i];
        }
        return sum;
      };
      const double lengths = std::sqrt(dot(a, a) * dot(b, b));
      REQUIRE(std::abs(dot(spread_a, spread_a) - dot(a, a)) <= 2e-6 * dot(a, a));
      REQUIRE(std::abs(dot(spread_a, spread_b) - dot(a, b)) <= 2e-6 * lengths);
      std::vector<float> one(static_cast<std::size_t>(n));
      one[static_cast<std::size_t>(n / 3)] = 8.0F;
      kernel->spread(one.data(), n);
      REQUIRE(std::count(one.begin(), one.end(), 0.0F) == n - 64);
      REQUIRE(std::all_of(one.begin(), one.end(),
                          [](float v) { return v == 0.0F || std::abs(v) == 1.0F; }));
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
