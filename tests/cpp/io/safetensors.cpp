#include "io/safetensors.h"

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <fstream>
#include <string>

#include "support/expect_error.h"
#include "support/temporary_folder.h"

using namespace helip;

namespace {

SafetensorsHeader read_bytes(const std::string& bytes) {
  const TemporaryFolder folder;
  std::ofstream(folder / "t.safetensors", std::ios::binary) << bytes;
  return read_safetensors_header(open_for_reading(folder / "t.safetensors"), "t.safetensors");
}

std::string with_header(const std::string& json, std::size_t data_bytes) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[i] = static_cast<char>((static_cast<std::uint64_t>(json.size()) >> (8 * i)) & 255U);
  }
  return bytes + json + std::string(data_bytes, 'x');
}

void refuse(const std::string& bytes, const std::string& part) {
  expect_error(ErrorCode::corrupt, part, [&] { read_bytes(bytes); });
}

}  // namespace

TEST_CASE("a header that was made is read back") {
  const std::vector<TensorInfo> tensors{{"a", DType::float16, {2, 3}, 256, 268},
                                        {"b", DType::uint8, {4}, 268, 272}};
  const std::string header = make_safetensors_header(tensors, 256);
  REQUIRE(header.size() == 256);
  const SafetensorsHeader read = read_bytes(header + std::string(16, 'x'));
  REQUIRE(read.tensors.size() == 2);
  CHECK(read.data_begin == 256);
  CHECK(read.at("a", "").shape == std::vector<std::int64_t>{2, 3});
  CHECK(read.at("b", "").begin == 268);
  expect_error(ErrorCode::corrupt, "\"c\" is absent", [&] { read.at("c", "f"); });
}

TEST_CASE("a file shorter than a header is refused") { refuse("abc", "fewer than a header"); }

TEST_CASE("a header longer than the file is refused") {
  refuse(std::string("\xff\xff\xff\xff\xff\xff\xff\x7f", 8) + "{}", "claims");
  refuse(std::string(8, '\xff') + "{}", "claims");
}

TEST_CASE("a header that is not JSON is refused") { refuse(with_header("{oops", 0), "not JSON"); }

TEST_CASE("a header nested without end is refused") {
  refuse(with_header(std::string(100000, '['), 0), "not JSON");
}

TEST_CASE("a header that is not an object is refused") {
  refuse(with_header("[1]", 0), "not a JSON object");
}

TEST_CASE("a tensor without its fields is refused") {
  refuse(with_header(R"({"a":{"dtype":"F32"}})", 0), "lacks");
}

TEST_CASE("an unknown dtype is refused") {
  refuse(with_header(R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}})", 4), "F7");
}

TEST_CASE("a shape whose size overflows is refused") {
  refuse(with_header(
             R"({"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,4]}})", 4),
         "overflows");
  // To 0, which is the length that it has.
  refuse(with_header(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})",
                     0),
         "overflows");
}

TEST_CASE("a tensor outside the file is refused") {
  refuse(with_header(R"({"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}})", 4), "outside");
}

TEST_CASE("a negative dimension is refused") {
  refuse(with_header(R"({"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}})", 4), "negative");
}

TEST_CASE("a length that is not the shape's is refused") {
  refuse(with_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4), "length");
}

TEST_CASE("overlapping tensors are refused") {
  refuse(with_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                     R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                     4),
         "overlaps");
}

TEST_CASE("a hole and a tail are refused") {
  refuse(with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2), "hole");
  refuse(with_header(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2), "the file at");
}

TEST_CASE("every truncation of a file is refused") {
  const std::string whole =
      with_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  CHECK_NOTHROW(read_bytes(whole));
  for (std::size_t n = 0; n < whole.size(); ++n) {
    REQUIRE_THROWS_AS(read_bytes(whole.substr(0, n)), Error);
  }
}
