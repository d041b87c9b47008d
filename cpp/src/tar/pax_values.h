// The extension headers of POSIX ("pax"): records of a keyword and a value each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace helip::tar {

// What extension headers say of a member. A value that is absent leaves the header's.
struct PaxValues {
  std::optional<std::string> path;
  std::optional<std::int64_t> bytes;
  bool sparse = false;  // it has a record of GNU.sparse

  // Takes the values that `other` has and this one has not.
  void fill_from(const PaxValues& other);
};

// Takes up the records of a payload. Returns what is wrong in words, nullptr where nothing is.
const char* read_pax(std::string_view payload, PaxValues& values);

}  // namespace helip::tar
