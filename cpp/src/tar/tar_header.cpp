#include "tar/tar_header.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace helip::tar {
namespace {

struct Field {
  std::size_t begin;
  std::size_t size;
};

constexpr Field kName{0, 100};
constexpr Field kSize{124, 12};
constexpr Field kChecksum{148, 8};
constexpr Field kPrefix{345, 155};
constexpr std::size_t kType = 156;
constexpr std::size_t kMagic = 257;
constexpr std::size_t kContinued = 482;  // GNU, type S
// Mode, owner, group, time and device: not used, but a header in which they are no numbers is none.
constexpr Field kOtherNumbers[] = {{100, 8}, {108, 8}, {116, 8}, {136, 12}, {329, 8}, {337, 8}};

// Text up to the first zero byte, or of the whole field.
std::string_view text_of(const unsigned char* block, Field field) {
  const auto* begin = reinterpret_cast<const char*>(block) + field.begin;
  return {begin, ::strnlen(begin, field.size)};
}

// A number in base 256: 0x80 in front, or 0xff for a negative one, then two's complement.
bool read_binary(const unsigned char* field, std::size_t size, std::int64_t& value) {
  const unsigned char sign = field[0] == 0xff ? 0xff : 0;
  const std::size_t low = size > 8 ? size - 8 : 1;
  for (std::size_t i = 1; i < low; ++i) {
    if (field[i] != sign) return false;  // more than 64 bits
  }
  std::uint64_t bits = sign != 0 ? ~std::uint64_t{0} : 0;
  for (std::size_t i = low; i < size; ++i) bits = bits << 8 | field[i];
  value = static_cast<std::int64_t>(bits);
  return (value < 0) == (sign != 0);
}

// Octal digits between spaces, up to a zero byte; none at all is 0.
bool read_octal(const unsigned char* field, std::size_t size, std::int64_t& value) {
  std::size_t i = 0;
  value = 0;
  while (i < size && field[i] == ' ') ++i;
  for (; i < size && field[i] >= '0' && field[i] <= '7'; ++i) value = value * 8 + (field[i] - '0');
  while (i < size && field[i] == ' ') ++i;
  return i == size || field[i] == 0;
}

bool read_number(const unsigned char* block, Field field, std::int64_t& value) {
  const unsigned char* begin = block + field.begin;
  return begin[0] == 0x80 || begin[0] == 0xff ? read_binary(begin, field.size, value)
                                              : read_octal(begin, field.size, value);
}

// The sum of all bytes, those of the checksum taken as spaces. Some old writers added signed bytes.
bool checksum_matches(const unsigned char* block) {
  std::int64_t stored = 0;
  if (!read_number(block, kChecksum, stored)) return false;
  std::uint32_t sum = 0;
  for (std::int64_t i = 0; i < kBlock; ++i) sum += block[i];
  std::int64_t high = 0;  // bytes from 128 on
  for (std::size_t i = 0; i < kChecksum.size; ++i) {
    sum += std::uint32_t{' '} - block[kChecksum.begin + i];
  }
  if (stored == sum) return true;
  for (std::int64_t i = 0; i < kBlock; ++i) high += block[i] >> 7;
  for (std::size_t i = 0; i < kChecksum.size; ++i) high -= block[kChecksum.begin + i] >> 7;
  return stored == static_cast<std::int64_t>(sum) - 256 * high;
}

}  // namespace

bool is_zero(const unsigned char* block) {
  return block[0] == 0 && std::memcmp(block, block + 1, kBlock - 1) == 0;
}

const char* read_header(const unsigned char* block, Header& header) {
  if (!checksum_matches(block)) return "no valid header";
  std::int64_t ignored = 0;
  for (const Field field : kOtherNumbers) {
    if (!read_number(block, field, ignored)) return "a header with a field that is no number";
  }
  if (!read_number(block, kSize, header.bytes)) return "a header whose size is no number";
  header.type = static_cast<char>(block[kType]);
  header.name = text_of(block, kName);
  if (header.type == '\0') header.type = header.name.ends_with('/') ? '5' : '0';
  header.continued = header.type == 'S' && block[kContinued] != 0;
  // GNU keeps other things where ustar has the prefix, and V7 nothing.
  if (std::memcmp(block + kMagic, "ustar", 6) == 0) {
    const std::string_view prefix = text_of(block, kPrefix);
    if (!prefix.empty()) header.name.insert(0, std::string(prefix) + '/');
  }
  return nullptr;
}

}  // namespace helip::tar
