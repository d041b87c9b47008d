#include "tar/pax_values.h"

#include <utility>

namespace helip::tar {
namespace {

// Decimal digits alone, and no more than 63 bits.
bool read_decimal(std::string_view text, std::int64_t& value) {
  value = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9' || __builtin_mul_overflow(value, 10, &value) ||
        __builtin_add_overflow(value, digit - '0', &value)) {
      return false;
    }
  }
  return !text.empty();
}

std::string_view without_slashes(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  return path;
}

}  // namespace

void PaxValues::fill_from(const PaxValues& other) {
  if (!path) path = other.path;
  if (!bytes) bytes = other.bytes;
  sparse = sparse || other.sparse;
}

const char* read_pax(std::string_view payload, PaxValues& values) {
  constexpr const char* kDamaged = "a damaged extension header";
  std::optional<std::string> sparse_name;
  while (!payload.empty()) {
    if (payload.front() == '\0') {  // some writers fill up the block and count that
      if (payload.find_first_not_of('\0') != std::string_view::npos) return kDamaged;
      break;
    }
    // "25 keyword=value\n", the length being that of the whole record.
    const std::size_t space = payload.find(' ');
    std::int64_t length = 0;
    if (space == std::string_view::npos || !read_decimal(payload.substr(0, space), length) ||
        length > static_cast<std::int64_t>(payload.size()) ||
        length < static_cast<std::int64_t>(space) + 2 ||
        payload[static_cast<std::size_t>(length) - 1] != '\n') {
      return kDamaged;
    }
    const auto end = static_cast<std::size_t>(length) - 1;
    const std::string_view record = payload.substr(space + 1, end - space - 1);
    payload.remove_prefix(end + 1);
    const std::size_t equals = record.find('=');
    if (equals == 0 || equals == std::string_view::npos) return kDamaged;
    const std::string_view keyword = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (keyword == "path") {
      values.path.reset();
      // An empty value takes back what an earlier record said.
      if (!value.empty()) values.path = without_slashes(value);
    } else if (keyword == "size") {
      values.bytes.reset();
      std::int64_t bytes = 0;
      if (!value.empty()) {
        if (!read_decimal(value, bytes)) return "an extension header whose size is no number";
        values.bytes = bytes;
      }
    } else if (keyword.starts_with("GNU.sparse.")) {
      values.sparse = true;
      if (keyword == "GNU.sparse.name") sparse_name = without_slashes(value);
    }
  }
  // The path is then a made-up one.
  if (sparse_name) values.path = std::move(sparse_name);
  return nullptr;
}

}  // namespace helip::tar
