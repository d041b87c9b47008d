// What a data set is made of, in short: a digest of each row's caption and image, and one text over
// all rows that tells in which of them two data sets differ.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "helip/export.h"

namespace helip {

// XXH3-64 of a caption as data sets give it: UTF-8 without white space (Unicode's) around it. Never
// 0, which stands for a caption that nobody looked at.
[[nodiscard]] HELIP_EXPORT std::uint64_t caption_digest(std::string_view caption) noexcept;

// Of an encoded image: its bytes in the low half, 0 where that is not known; a digest of its end
// in the high half, 0 where nobody looked. `tail` are the last bytes, as many as were looked at.
[[nodiscard]] HELIP_EXPORT std::uint64_t image_digest(std::int64_t bytes,
                                                      std::string_view tail = {}) noexcept;

// Whether two images may be the same, by what is known of both.
[[nodiscard]] HELIP_EXPORT bool may_be_same_image(std::uint64_t a, std::uint64_t b) noexcept;

// Takes rows in order. Not thread-safe.
class HELIP_EXPORT DataFingerprint {
 public:
  DataFingerprint();
  ~DataFingerprint();
  DataFingerprint(DataFingerprint&&) noexcept;
  DataFingerprint& operator=(DataFingerprint&&) noexcept;

  void add(std::string_view key, std::uint64_t image = 0, std::uint64_t caption = 0);

  // XXH3-128 over (length as little-endian uint64, UTF-8 bytes) of each key in order, in hex.
  [[nodiscard]] std::string keys() const;
  // "KEYS-CAPTIONS-SIZES-ENDS": keys(), and 16 digits each of the digests over captions, sizes of
  // images and digests of their ends; 0 in place of what is known of no row.
  [[nodiscard]] std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace helip
