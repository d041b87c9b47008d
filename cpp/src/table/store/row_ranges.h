// Rows as a text of ranges, as manifests hold them: "3,5-9".
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace helip {

// Of ascending rows.
std::string ranges_of(const std::vector<std::int64_t>& rows);

// Calls take(first, last) for each range, ascending and below `limit`, at least one. Throws
// std::invalid_argument with what is wrong.
void for_each_range(const std::string& text, std::int64_t limit,
                    const std::function<void(std::int64_t, std::int64_t)>& take);

// Ascending rows below `limit`, at least one. Throws std::invalid_argument with what is wrong.
std::vector<std::int64_t> rows_of_ranges(const std::string& text, std::int64_t limit);

}  // namespace helip
