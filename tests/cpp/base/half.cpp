#include "base/half.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>

using namespace helip;

TEST_CASE("every float16 survives the way to float32 and back") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = float_from_float16(half);
    if (std::isnan(value)) {
      CHECK(std::isnan(float_from_float16(float16_from_float(value))));
    } else {
      REQUIRE(float16_from_float(value) == half);
    }
  }
}

TEST_CASE("every bfloat16 survives the way to float32 and back") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto brain = static_cast<std::uint16_t>(bits);
    const float value = float_from_bfloat16(brain);
    if (std::isnan(value)) {
      CHECK(std::isnan(float_from_bfloat16(bfloat16_from_float(value))));
    } else {
      REQUIRE(bfloat16_from_float(value) == brain);
    }
  }
}

TEST_CASE("float16 rounds to the nearest and ties to even") {
  CHECK(float16_from_float(1.0F + 0x1p-11F) == 0x3c00);      // a tie goes down to even
  CHECK(float16_from_float(1.0F + 3 * 0x1p-11F) == 0x3c02);  // a tie goes up to even
  CHECK(float16_from_float(1.0F + 0x1p-11F + 0x1p-20F) == 0x3c01);
  CHECK(float16_from_float(65519.0F) == 0x7bff);  // the largest finite value
  CHECK(float16_from_float(65520.0F) == 0x7c00);  // infinity from here
  CHECK(float16_from_float(0x1p-24F) == 0x0001);  // the smallest subnormal
  CHECK(float16_from_float(0x1p-25F) == 0x0000);
  CHECK(float16_from_float(-0x1p-25F * 1.5F) == 0x8001);
}
