#include "table/store/row_ranges.h"

#include <charconv>
#include <stdexcept>

namespace helip {

std::string ranges_of(const std::vector<std::int64_t>& rows) {
  std::string text;
  for (std::size_t i = 0; i < rows.size();) {
    std::size_t last = i;
    while (last + 1 < rows.size() && rows[last + 1] == rows[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(rows[i]);
    if (last > i) text += '-' + std::to_string(rows[last]);
    i = last + 1;
  }
  return text;
}

void for_each_range(const std::string& text, std::int64_t limit,
                    const std::function<void(std::int64_t, std::int64_t)>& take) {
  std::int64_t before = -1;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&] {
    std::int64_t value = -1;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value < 0 || value >= limit) {
      throw std::invalid_argument("a range of rows has a row that is none of the store");
    }
    at = next;
    return value;
  };
  for (;;) {
    const std::int64_t first = number();
    std::int64_t last = first;
    if (at != end && *at == '-') {
      ++at;
      last = number();
    }
    if (last < first || first <= before) {
      throw std::invalid_argument("the rows of a range are not in order");
    }
    take(first, last);
    before = last;
    if (at == end) return;
    if (*at++ != ',') throw std::invalid_argument("a range of rows is garbled");
  }
}

std::vector<std::int64_t> rows_of_ranges(const std::string& text, std::int64_t limit) {
  std::vector<std::int64_t> rows;
  for_each_range(text, limit, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row <= last; ++row) rows.push_back(row);
  });
  return rows;
}

}  // namespace helip
