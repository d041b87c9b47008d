// What somebody wrote: as a message quotes it, and without the space around it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "helip/export.h"

namespace helip {

inline constexpr std::size_t kExcerptBytes = 200;

// The first 200 bytes, cut before a letter that does not fit, with "…" where there are more.
inline std::string excerpt(std::string_view text) {
  if (text.size() <= kExcerptBytes) return std::string(text);
  std::size_t end = kExcerptBytes;
  // Bytes that go on with a letter of UTF-8.
  while (end > kExcerptBytes - 4 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "…";
}

// Without Unicode's white space, and what Python takes for such, on both sides.
HELIP_FOR_DATA std::string_view trimmed(std::string_view text) noexcept;

// Which of the names of an enumeration it is, from 0 on. Throws invalid_argument with all of them.
HELIP_FOR_DATA std::size_t number_of_name(const char* what, std::string_view name,
                                          std::span<const char* const> all);

}  // namespace helip
