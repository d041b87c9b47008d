#include "helip/matrix.h"

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <vector>

#include "base/half.h"
#include "support/expect_error.h"

using namespace helip;

TEST_CASE("a row reads the same values in every dtype that can hold them") {
  const std::vector<double> expected{0.5, -1.0, 2.0, 0.0, 3.0, -4.0, 8.0, 16.0, -0.25, 1.5};
  std::vector<float> singles(expected.begin(), expected.end());
  std::vector<std::uint16_t> halves;
  std::vector<std::uint16_t> brains;
  for (const float value : singles) {
    halves.push_back(float16_from_float(value));
    brains.push_back(bfloat16_from_float(value));
  }
  const auto cols = static_cast<std::int64_t>(expected.size());
  const std::array views{
      MatrixView{expected.data(), 1, cols, DType::float64, 8 * cols, nullptr},
      MatrixView{singles.data(), 1, cols, DType::float32, 4 * cols, nullptr},
      MatrixView{halves.data(), 1, cols, DType::float16, 2 * cols, nullptr},
      MatrixView{brains.data(), 1, cols, DType::bfloat16, 2 * cols, nullptr},
  };
  for (const MatrixView& view : views) {
    INFO(name_of(view.dtype));
    std::vector<double> doubles(expected.size());
    std::vector<float> floats(expected.size());
    read_row(view, 0, doubles.data());
    read_row(view, 0, floats.data());
    CHECK(doubles == expected);
    CHECK(floats == singles);
  }
}

TEST_CASE("an int8 row is its codes times its scale") {
  const std::array<std::int8_t, 6> codes{1, -2, 127, 10, 0, -127};
  const std::array scales{0.5F, 2.0F};
  const MatrixView view{codes.data(), 2, 3, DType::int8, 3, scales.data()};
  std::array<double, 3> row{};
  read_row(view, 0, row.data());
  CHECK(row == std::array{0.5, -1.0, 63.5});
  read_row(view, 1, row.data());
  CHECK(row == std::array{20.0, 0.0, -254.0});
}

TEST_CASE("rows may be strided") {
  const std::array<float, 6> values{1, 2, 99, 3, 4, 99};
  const MatrixView view{values.data(), 2, 2, DType::float32, 12, nullptr};
  std::array<float, 2> row{};
  read_row(view, 1, row.data());
  CHECK(row == std::array{3.0F, 4.0F});
}

TEST_CASE("dtype names go both ways and an unknown one is refused") {
  for (const char* name : {"float64", "float32", "float16", "bfloat16", "int8"}) {
    CHECK(name_of(dtype_from_name(name)) == std::string(name));
  }
  expect_error(ErrorCode::invalid_argument, "\"float8\"", [] { dtype_from_name("float8"); });
}
