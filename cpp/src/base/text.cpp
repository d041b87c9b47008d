#include "base/text.h"

#include <array>

#include "base/refuse.h"

namespace helip {
namespace {

constexpr std::array<std::string_view, 29> kSpaces{
    "\t",           "\n",           "\v",           "\f",           "\r",
    "\x1c",         "\x1d",         "\x1e",         "\x1f",         " ",
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
    "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
    "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
    "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

// Bytes of the space that `text` begins or ends with, 0 where there is none.
std::size_t space_at(std::string_view text, bool end) noexcept {
  for (const std::string_view space : kSpaces) {
    if (end ? text.ends_with(space) : text.starts_with(space)) return space.size();
  }
  return 0;
}

}  // namespace

std::string_view trimmed(std::string_view text) noexcept {
  while (const std::size_t bytes = space_at(text, false)) text.remove_prefix(bytes);
  while (const std::size_t bytes = space_at(text, true)) text.remove_suffix(bytes);
  return text;
}

std::size_t number_of_name(const char* what, std::string_view name,
                           std::span<const char* const> all) {
  std::string known;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (name == all[i]) return i;
    known += (i == 0 ? "" : i + 1 == all.size() ? " or " : ", ") + std::string(all[i]);
  }
  refuse(what, " '", excerpt(name), "' is unknown; use ", known);
}

}  // namespace helip
