// Numbers out of bytes that nobody has checked: what lies outside reads as 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace helip::image {

class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, bool big_endian) noexcept
      : bytes_(bytes), big_endian_(big_endian) {}

  std::size_t size() const noexcept { return bytes_.size(); }
  std::uint32_t u8(std::size_t at) const noexcept { return number(at, 1); }
  std::uint32_t u16(std::size_t at) const noexcept { return number(at, 2); }
  std::uint32_t u32(std::size_t at) const noexcept { return number(at, 4); }

  // What there is of `count` bytes from `at`.
  std::span<const std::byte> part(std::size_t at, std::size_t count) const noexcept {
    if (at >= bytes_.size()) return {};
    return bytes_.subspan(at, count < bytes_.size() - at ? count : bytes_.size() - at);
  }
  std::string_view text(std::size_t at, std::size_t count) const noexcept {
    const auto found = part(at, count);
    return {reinterpret_cast<const char*>(found.data()), found.size()};
  }

 private:
  std::uint32_t number(std::size_t at, std::size_t count) const noexcept {
    if (at > bytes_.size() || bytes_.size() - at < count) return 0;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t place = big_endian_ ? i : count - 1 - i;
      value = value << 8 | std::to_integer<std::uint32_t>(bytes_[at + place]);
    }
    return value;
  }

  std::span<const std::byte> bytes_;
  bool big_endian_;
};

}  // namespace helip::image
