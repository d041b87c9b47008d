// From the name of a tar member to the key of its sample, by webdataset's rules.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace helip::samples {

struct SampleName {
  std::string_view key;
  std::string_view extension;  // behind the first dot of the last path component
};

// Without "./" in front, any number of times.
std::string_view plain_name(std::string_view name);

// Nothing where the name has no key and extension, and for what describes the shard (__meta__/...).
std::optional<SampleName> split_name(std::string_view plain_name);

// As UTF-8: each byte that is none becomes \udcXX in letters, as Python's "surrogateescape" and
// "backslashreplace" make of it.
std::string clean_key(std::string_view key);

}  // namespace helip::samples
