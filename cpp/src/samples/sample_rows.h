// Rows of an index in memory: where four members lie, what they hold in short, and the key.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "helip/sample_index.h"

namespace helip::samples {

// In place of an offset.
inline constexpr std::int64_t kAbsent = -1;
inline constexpr std::int64_t kRefused = -2;
// Of a row: of its image, then of its caption.
inline constexpr std::int64_t kDigests = 2;
// Sizes are kept in 31 bits: whatever is larger is refused when it is read.
inline constexpr std::int64_t kSizeCap = std::numeric_limits<std::int32_t>::max();

// What has more bytes is refused when it is read: a text, .json or class, and an image.
inline constexpr std::int64_t kTextLimit = std::int64_t{16} << 20;
inline constexpr std::int64_t kImageLimit = std::int64_t{256} << 20;

struct SampleRows {
  std::vector<std::int64_t> offsets;          // [n, 4]
  std::vector<std::int32_t> sizes;            // [n, 4]
  std::vector<std::uint64_t> digests;         // [n, 2]: image_digest(), caption_digest()
  std::vector<std::uint64_t> key_offsets{0};  // [n + 1]
  std::string key_bytes;

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(key_offsets.size()) - 1; }
  std::string_view key(std::int64_t row) const {
    const auto at = static_cast<std::size_t>(row);
    return std::string_view(key_bytes).substr(key_offsets[at],
                                              key_offsets[at + 1] - key_offsets[at]);
  }
  // Appends a row; `from` and `bytes` are four each, `digest` are two.
  void add(std::string_view key, const std::int64_t* from, const std::int32_t* bytes,
           const std::uint64_t* digest);
  void append(const SampleRows& other);
  bool operator==(const SampleRows&) const = default;
};

}  // namespace helip::samples
