// Named arrays in one file: whole or not at all, and damage shows.
#include "io/tensor_file.h"

#include <catch2/catch_test_macros.hpp>
#include <numeric>

#include "support/expect_error.h"
#include "support/flip_byte.h"
#include "support/temporary_folder.h"

using namespace helip;
using helip::testing::flip_byte;

namespace {

namespace fs = std::filesystem;

std::vector<Tensor> two_tensors(const std::vector<double>& values,
                                const std::vector<std::int32_t>& numbers) {
  const auto rows = static_cast<std::int64_t>(values.size());
  return {{"values", DType::float64, {rows / 2, 2}, values.data()},
          {"numbers", DType::int32, {static_cast<std::int64_t>(numbers.size())}, numbers.data()}};
}

}  // namespace

TEST_CASE("tensors are read as they were written", "[tensor_file]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "t");
  std::vector<double> values(1 << 20);
  std::iota(values.begin(), values.end(), 0.5);
  const std::vector<std::int32_t> numbers{7, -1, 3};
  std::vector<std::int32_t> none;
  auto tensors = two_tensors(values, numbers);
  tensors.push_back({"none", DType::int32, {0}, none.data()});
  const ShardRecord record = write_tensors(folder / "t", "state", tensors);
  const TensorFile file(folder / "t" / "state", record);
  std::vector<double> read(values.size());
  file.read("values", DType::float64, static_cast<std::int64_t>(read.size()), read.data());
  REQUIRE(read == values);
  std::vector<std::int32_t> whole(3);
  file.read("numbers", DType::int32, 3, whole.data());
  REQUIRE(whole == numbers);
  REQUIRE(file.elements("none", DType::int32) == 0);
  file.read("none", DType::int32, 0, whole.data());
  REQUIRE(file.has("numbers"));
  REQUIRE_FALSE(file.has("others"));
}

TEST_CASE("a header has room for any number of tensors", "[tensor_file]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "t");
  std::vector<std::int32_t> numbers(3000);
  std::iota(numbers.begin(), numbers.end(), 0);
  std::vector<Tensor> tensors;
  const auto name_of_tensor = [](std::size_t i) { return "a tensor, number " + std::to_string(i); };
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    tensors.push_back({name_of_tensor(i), DType::int32, {1}, &numbers[i]});
  }
  const TensorFile file(folder / "t" / "many", write_tensors(folder / "t", "many", tensors));
  REQUIRE(file.offset(name_of_tensor(0)) % 4096 == 0);  // so that it can be mapped
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    std::int32_t read = -1;
    file.read(name_of_tensor(i), DType::int32, 1, &read);
    REQUIRE(read == numbers[i]);
    file.compare(name_of_tensor(i), DType::int32, 1, &read);
    ++read;
    REQUIRE_THROWS_AS(file.compare(name_of_tensor(i), DType::int32, 1, &read), Error);
  }
}

TEST_CASE("tensors of another kind than asked for are an error", "[tensor_file]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "t");
  const ShardRecord record = write_tensors(folder / "t", "state", two_tensors({1, 2, 3, 4}, {5}));
  const TensorFile file(folder / "t" / "state", record);
  double out[8];
  expect_error(ErrorCode::corrupt, "\"values\" has 4 elements, not 5",
               [&] { file.read("values", DType::float64, 5, out); });
  expect_error(ErrorCode::corrupt, "\"values\" is float64, not float32",
               [&] { file.read("values", DType::float32, 4, out); });
  expect_error(ErrorCode::corrupt, "\"others\" is absent",
               [&] { file.read("others", DType::float64, 4, out); });
}

TEST_CASE("each flipped byte of a file of tensors shows", "[tensor_file]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "t");
  const ShardRecord record =
      write_tensors(folder / "t", "state", two_tensors({1, 2, 3, 4}, {5, 6}));
  const fs::path path = folder / "t" / "state";
  const auto read_all = [&] {
    const TensorFile file(path, record);
    double values[4];
    std::int32_t numbers[2];
    file.read("values", DType::float64, 4, values);
    file.read("numbers", DType::int32, 2, numbers);
  };
  for (std::int64_t at = 0; at < record.bytes; at += at < 300 || at > 4000 ? 1 : 97) {
    flip_byte(path, at);
    expect_error(ErrorCode::corrupt, "is damaged", read_all);
    flip_byte(path, at);
  }
  read_all();
  fs::resize_file(path, static_cast<std::uintmax_t>(record.bytes - 1));
  expect_error(ErrorCode::corrupt, "is damaged", read_all);
}

TEST_CASE("a writer of tensors that is stopped leaves nothing", "[tensor_file]") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "t");
  const std::vector<double> values(std::size_t{20} << 20);
  std::int64_t calls = 0;
  expect_error(ErrorCode::cancelled, "stop", [&] {
    write_tensors(folder / "t", "state", two_tensors(values, {1}), [&](std::int64_t bytes) {
      REQUIRE(bytes > 0);
      if (++calls == 2) throw Error(ErrorCode::cancelled, "stop");
    });
  });
  REQUIRE(fs::is_empty(folder / "t"));
}
