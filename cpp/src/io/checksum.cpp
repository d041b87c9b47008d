#include "io/checksum.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "helip/checksum.h"
#include "helip/error.h"

namespace helip {
namespace {

std::string hex_of(const XXH128_hash_t& hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(32);
  for (const unsigned char byte : canonical.digest) {
    text.push_back(digits[byte >> 4]);
    text.push_back(digits[byte & 15]);
  }
  return text;
}

}  // namespace

struct Digest::State {
  XXH3_state_t xxh3;
};

Digest::Digest() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh3); }
Digest::~Digest() = default;
Digest::Digest(const Digest& other) : state_(std::make_unique<State>()) {
  XXH3_copyState(&state_->xxh3, &other.state_->xxh3);
}
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::update(const void* data, std::size_t bytes) {
  if (bytes != 0) XXH3_128bits_update(&state_->xxh3, data, bytes);
}

void Digest::update_field(std::string_view field) {
  std::array<unsigned char, 8> length{};
  for (std::size_t i = 0; i < length.size(); ++i) {
    length[i] = static_cast<unsigned char>(static_cast<std::uint64_t>(field.size()) >> (8 * i));
  }
  update(length.data(), length.size());
  update(field.data(), field.size());
}

std::string Digest::hex() const { return hex_of(XXH3_128bits_digest(&state_->xxh3)); }

std::vector<std::uint64_t> block_checksums(const void* data, std::size_t bytes, std::size_t block) {
  if (block == 0) throw Error(ErrorCode::invalid_argument, "block is 0, must be at least 1");
  std::vector<std::uint64_t> checksums;
  checksums.reserve((bytes + block - 1) / block);
  const auto* begin = static_cast<const std::byte*>(data);
  for (std::size_t at = 0; at < bytes; at += block) {
    checksums.push_back(XXH3_64bits(begin + at, std::min(block, bytes - at)));
  }
  return checksums;
}

std::string digest_hex(const void* data, std::size_t bytes) {
  return hex_of(XXH3_128bits(data, bytes));
}

}  // namespace helip
