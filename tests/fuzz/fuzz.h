// What a fuzz target is made of: libFuzzer's own functions stand once, in fuzz.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace helip::fuzz {

// Of each target: whole inputs to begin with, made by the library.
std::vector<std::string> seeds();

// Of each target: takes an input apart. May throw Error, which refuses it; whatever else
// comes out of it ends the run.
void take(std::string_view input);

// Ends the run: what was handed on breaks what the library promises.
inline void promise(bool kept, const char* what) {
  if (kept) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

// The first byte of an input, which says how the rest is taken; 0 of an empty one.
inline std::uint8_t take_byte(std::string_view& input) {
  if (input.empty()) return 0;
  const auto first = static_cast<std::uint8_t>(input.front());
  input.remove_prefix(1);
  return first;
}

}  // namespace helip::fuzz
