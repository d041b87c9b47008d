// JSON of files and of callers, which is not trusted.
#pragma once

#include <string>
#include <string_view>

#include "io/json.h"

namespace helip {

// Throws std::invalid_argument with what is wrong, in a few words: nested deeper than `depth`, or
// more values than any manifest has. Takes time in proportion to the text, and no memory.
void check_json_bounds(std::string_view text, int depth = 64);

// Throws as check_json_bounds() does, and where the text is not JSON.
Json parse_json(std::string_view text, int depth = 64);

}  // namespace helip
