// A vector in int8, and how far it is from what it was made of.
#include "mine/bound/int8_code.h"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

TEST_CASE("codes tell the vector but for what was missed", "[int8_code]") {
  const std::vector<double> values = clustered_values(1, 256, 1, 0.5, 3);
  const std::vector<float> x(values.begin(), values.end());
  for (const Kernel* kernel : available_kernels()) {
    INFO(kernel->name);
    std::vector<std::int8_t> codes(256);
    const Int8Code code = encode_int8(x.data(), 256, *kernel, codes.data());
    double missed = 0.0;
    std::int32_t sum = 0, largest = 0;
    for (std::size_t i = 0; i < 256; ++i) {
      const double left = static_cast<double>(x[i]) - static_cast<double>(code.scale) * codes[i];
      missed += left * left;
      sum += codes[i];
      largest = std::max(largest, std::abs(std::int32_t{codes[i]}));
      REQUIRE(std::abs(left) <= 0.501 * static_cast<double>(code.scale));
    }
    REQUIRE(static_cast<double>(code.missed) == Catch::Approx(missed).epsilon(1e-4));
    REQUIRE(code.sum == sum);
    REQUIRE(largest == 127);
  }
}

TEST_CASE("a vector of zeros has codes of zero and a scale that divides", "[int8_code]") {
  const std::vector<float> zeros(64);
  std::vector<std::int8_t> codes(64, 1);
  const Int8Code code = encode_int8(zeros.data(), 64, select_kernel(), codes.data());
  REQUIRE(code.scale > 0.0F);
  REQUIRE(code.missed == 0.0F);
  REQUIRE(code.sum == 0);
}

TEST_CASE("depths are padded to what a kernel gathers", "[int8_code]") {
  REQUIRE(padded_depth(0) == 0);
  REQUIRE(padded_depth(1) == kCodeAlign);
  REQUIRE(padded_depth(kCodeAlign) == kCodeAlign);
  REQUIRE(padded_depth(kCodeAlign + 1) == 2 * kCodeAlign);
}
