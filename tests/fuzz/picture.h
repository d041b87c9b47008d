// An encoded picture through the whole transform: the first byte of an input chooses how.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace helip::fuzz {

void transform(std::string_view input);

// A seed of each of these ways.
std::vector<std::string> ways_of(const std::string& encoded);

}  // namespace helip::fuzz
