#include "io/json_text.h"

#include <cstdint>
#include <stdexcept>

namespace helip {
namespace {

constexpr std::int64_t kMostValues = std::int64_t{1} << 23;  // about 100 bytes each once parsed
constexpr std::size_t kMessageLimit = 200;                   // a parser quotes what it read last

}  // namespace

void check_json_bounds(std::string_view text, int depth) {
  std::int64_t values = 0;
  int open = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++open > depth) {
        throw std::invalid_argument("nesting deeper than " + std::to_string(depth));
      }
      ++values;
    } else if (c == ']' || c == '}') {
      --open;
    } else if (c == ',') {
      ++values;
    }
    if (values > kMostValues) {
      throw std::invalid_argument("more than " + std::to_string(kMostValues) + " values");
    }
  }
}

Json parse_json(std::string_view text, int depth) {
  // Not by a callback of the parser, which makes it quadratic in the members of an object.
  check_json_bounds(text, depth);
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::exception& error) {
    throw std::invalid_argument(std::string(error.what()).substr(0, kMessageLimit));
  }
}

}  // namespace helip
