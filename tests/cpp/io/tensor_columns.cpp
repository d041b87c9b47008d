// Arrays of numbers of any width, as a file has them.
#include "io/tensor_columns.h"

#include <catch2/catch_test_macros.hpp>
#include <limits>

#include "support/expect_error.h"
#include "support/temporary_folder.h"

using namespace helip;

TEST_CASE("columns are read as they were written, whether they were shown or kept",
          "[tensor_columns]") {
  const TemporaryFolder folder;
  const std::vector<double> doubles{0.1, -1e300};
  const std::vector<std::int8_t> codes{-128, 127, 0};
  const std::vector<std::uint32_t> large{0, std::numeric_limits<std::uint32_t>::max()};
  TensorColumns columns;
  columns.show("doubles", doubles);
  columns.show("codes", codes);
  columns.keep("large", std::vector<std::uint32_t>(large));
  columns.keep("wide", std::vector<std::int64_t>{std::int64_t{1} << 40});
  columns.keep("bytes", std::vector<std::uint8_t>{255});
  columns.keep("floats", std::vector<float>{});
  const TensorFile file(folder / "t", write_tensors(folder / "", "t", columns.tensors()));
  REQUIRE(read_column<double>(file, "doubles") == doubles);
  REQUIRE(read_column<std::int8_t>(file, "codes") == codes);
  REQUIRE(read_column<std::uint32_t>(file, "large") == large);
  REQUIRE(read_column<std::int64_t>(file, "wide").front() == std::int64_t{1} << 40);
  REQUIRE(read_column<std::uint8_t>(file, "bytes").front() == 255);
  REQUIRE(read_column<float>(file, "floats").empty());
  std::vector<double> fewer(1);
  expect_error(ErrorCode::corrupt, "has 2 elements, not 1",
               [&] { read_column(file, "doubles", std::span(fewer)); });
  expect_error(ErrorCode::corrupt, "is float64, not int64",
               [&] { (void)read_column<std::int64_t>(file, "doubles"); });
}
