#include "helip/matrix.h"

#include <array>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <span>
#include <string>
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
  expect_error(ErrorCode::invalid_argument, "\"float8\"", [] { (void)dtype_from_name("float8"); });
}

TEST_CASE("a typed view says where its rows lie") {
  const std::vector<float> singles(12);
  const MatrixView dense = MatrixView::of(singles.data(), 3, 4);
  CHECK(dense.dtype == DType::float32);
  CHECK(dense.row_stride == 16);
  CHECK(dense.row(2) == singles.data() + 8);
  CHECK(MatrixView::of(singles.data(), 3, 2, 16).row_stride == 16);
  CHECK(MatrixView::of(singles, 3, 4).data == singles.data());
  const std::vector<double> doubles(6);
  CHECK(MatrixView::of(doubles, 2, 3).dtype == DType::float64);
  CHECK(MatrixView::of(doubles.data(), 2, 3).row_stride == 24);
  const std::vector<std::uint16_t> halves(6);
  CHECK(MatrixView::of(halves.data(), DType::bfloat16, 2, 3).dtype == DType::bfloat16);
  const std::vector<std::int8_t> codes(6);
  const std::vector<float> scale{2.0F, 4.0F};
  const MatrixView view = MatrixView::of(codes.data(), scale.data(), 2, 3);
  CHECK(view.dtype == DType::int8);
  CHECK(view.scale == scale.data());
  const std::vector<std::int64_t> longs(6);
  CHECK(MatrixView::of(longs.data(), 2, 3).dtype == DType::int64);
  CHECK(MatrixView::of(static_cast<const void*>(longs.data()), DType::uint64, 2, 3).row_stride ==
        24);
}

TEST_CASE("a view of nothing needs no memory") {
  CHECK(MatrixView::of(static_cast<const float*>(nullptr), 0, 4).rows == 0);
  CHECK(MatrixView::of(static_cast<const float*>(nullptr), 4, 0).cols == 0);
  CHECK(MatrixView::of(std::span<const float>(), 0, 7).cols == 7);
  CHECK_NOTHROW(MatrixView().check());
}

TEST_CASE("a view that reads what is not there is refused") {
  constexpr std::int64_t kMany = std::int64_t{1} << 40;
  alignas(8) const std::array<float, 12> values{};
  const float* data = values.data();
  const auto refuse = [](const std::string& part, auto make) {
    expect_error(ErrorCode::invalid_argument, part, [&] { (void)make(); });
  };
  refuse("no data", [] { return MatrixView::of(static_cast<const float*>(nullptr), 1, 1); });
  refuse("[-1, 4]", [&] { return MatrixView::of(data, -1, 4); });
  refuse("[3, -4]", [&] { return MatrixView::of(data, 3, -4); });
  refuse("need 16 or more", [&] { return MatrixView::of(data, 3, 4, 12); });
  refuse("a multiple of 4", [&] { return MatrixView::of(data, 3, 4, 18); });
  refuse("in rising order", [&] { return MatrixView::of(data, 3, 4, -16); });
  refuse("than can be addressed", [&] { return MatrixView::of(data, 1, kMany << 22); });
  refuse("than can be addressed", [&] { return MatrixView::of(data, kMany, kMany); });
  refuse("than can be addressed", [&] { return MatrixView::of(data, kMany, 4, kMany); });
  refuse("11 values are no matrix of shape [3, 4]",
         [&] { return MatrixView::of(std::span(values).first(11), 3, 4); });
  refuse("12 values", [&] { return MatrixView::of(std::span<const float>(values), kMany, kMany); });
  refuse("scale", [] {
    const std::int8_t code = 1;
    return MatrixView::of(&code, nullptr, 1, 1);
  });
  refuse("halves cannot be int8", [] {
    const std::uint16_t half = 0;
    return MatrixView::of(&half, DType::int8, 1, 1);
  });
  refuse("multiple of 4 bytes", [&] {
    const auto* bytes = reinterpret_cast<const char*>(data);
    return MatrixView::of(static_cast<const void*>(bytes + 1), DType::float32, 1, 1);
  });
}
