#include "samples/sample_name.h"

#include <cstddef>

namespace helip::samples {
namespace {

// Bytes of the well-formed UTF-8 character that `text` begins with; 0 where it begins with none.
std::size_t character_at(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < size) return 0;
  for (std::size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  // Neither longer than need be, nor a surrogate, nor beyond U+10FFFF.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return size;
}

}  // namespace

std::string_view plain_name(std::string_view name) {
  while (name.starts_with("./")) name.remove_prefix(2);
  return name;
}

std::optional<SampleName> split_name(std::string_view plain_name) {
  const std::string_view top = plain_name.substr(0, plain_name.find('/'));
  if (top.size() >= 4 && top.starts_with("__") && top.ends_with("__")) return std::nullopt;
  const std::size_t slash = plain_name.rfind('/');
  const std::size_t base = slash == std::string_view::npos ? 0 : slash + 1;
  const std::size_t dot = plain_name.find('.', base);
  if (dot == std::string_view::npos || dot == base) return std::nullopt;
  return SampleName{plain_name.substr(0, dot), plain_name.substr(dot + 1)};
}

std::string clean_key(std::string_view key) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string clean;
  clean.reserve(key.size());
  while (!key.empty()) {
    const std::size_t size = character_at(key);
    if (size > 0) {
      clean += key.substr(0, size);
    } else {
      const auto byte = static_cast<unsigned char>(key[0]);
      clean += "\\udc";
      clean += kDigits[byte >> 4];
      clean += kDigits[byte & 15];
    }
    key.remove_prefix(size > 0 ? size : 1);
  }
  return clean;
}

}  // namespace helip::samples
