#include "tar/tar_header.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "support/tar_builder.h"

using helip::tar::Header;
using helip::tar::read_header;

namespace {

const char* fault_of(const std::string& block, Header& header) {
  return read_header(reinterpret_cast<const unsigned char*>(block.data()), header);
}

std::string binary(std::int64_t value) {
  std::string field(12, value < 0 ? '\xff' : '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    field[11 - i] = static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
  }
  if (value >= 0) field[0] = '\x80';
  return field;
}

}  // namespace

TEST_CASE("a header gives name, type and size") {
  Header header;
  CHECK(fault_of(tar_header("a/b.jpg", 1234, '0'), header) == nullptr);
  CHECK(header.name == "a/b.jpg");
  CHECK(header.type == '0');
  CHECK(header.bytes == 1234);
}

TEST_CASE("a name may fill its field, and ustar puts a prefix in front") {
  Header header;
  const std::string name(100, 'n');
  const std::string block = with_field(tar_header(name, 0), 345, std::string(155, 'p'));
  CHECK(fault_of(block, header) == nullptr);
  CHECK(header.name == std::string(155, 'p') + "/" + name);
  // GNU keeps times where ustar has the prefix.
  CHECK(fault_of(with_field(block, 257, std::string("ustar  \0", 8)), header) == nullptr);
  CHECK(header.name == name);
  CHECK(fault_of(with_field(block, 257, std::string(8, '\0')), header) == nullptr);
  CHECK(header.name == name);
}

TEST_CASE("numbers are octal with spaces or zeros around, or in base 256") {
  Header header;
  const std::string block = tar_header("a", 0);
  const std::string unused(4, '\0');
  const std::pair<std::string, std::int64_t> sizes[] = {
      {std::string(12, '\0'), 0},
      {"        17 \0", 15},
      {"777777777777", (std::int64_t{1} << 36) - 1},
      {binary(5), 5},
      {binary(std::int64_t{1} << 40), std::int64_t{1} << 40},
      {binary(INT64_MAX), INT64_MAX},
      {binary(-512), -512},
  };
  for (const auto& [field, value] : sizes) {
    CHECK(fault_of(with_field(block, 124, field), header) == nullptr);
    CHECK(header.bytes == value);
  }
  for (const char* field : {"12x45678901", "8", "-1", "1_0", "0o17", "1 2", "\x81\1\1\1\1\1\1\1"}) {
    INFO(field);
    CHECK(fault_of(with_field(block, 124, std::string(field) + unused), header) != nullptr);
  }
  std::string huge = binary(1);
  huge[2] = 1;  // 2^72
  CHECK(fault_of(with_field(block, 124, huge), header) != nullptr);
  CHECK(fault_of(with_field(block, 136, "no time"), header) != nullptr);
}

TEST_CASE("a checksum of signed bytes is one as well, any other is none") {
  Header header;
  std::string block = tar_header("caf\xe9\xe9.jpg", 3);
  CHECK(fault_of(block, header) == nullptr);
  std::memset(block.data() + 148, ' ', 8);
  int sum = 0;
  for (const char byte : block) sum += static_cast<signed char>(byte);
  std::snprintf(block.data() + 148, 8, "%06o", static_cast<unsigned>(sum));
  CHECK(fault_of(block, header) == nullptr);
  for (std::size_t at = 0; at < block.size(); ++at) {
    if (at >= 148 && at < 156) continue;
    std::string damaged = block;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x11);
    CHECK(fault_of(damaged, header) != nullptr);
  }
}

TEST_CASE("the directories of V7 are told by their slash") {
  Header header;
  CHECK(fault_of(tar_header("folder/", 0, '\0'), header) == nullptr);
  CHECK(header.type == '5');
  CHECK(fault_of(tar_header("file", 0, '\0'), header) == nullptr);
  CHECK(header.type == '0');
}
