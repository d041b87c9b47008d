// One tar shard, read once by its headers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "helip/sample_index.h"
#include "samples/sample_rows.h"

namespace helip::samples {

// Which extension is which member of a sample.
class FieldNames {
 public:
  explicit FieldNames(const std::vector<std::string>& image_extensions);
  // The field of an extension in any case, or -1.
  int field_of(std::string_view extension) const;

 private:
  std::unordered_map<std::string, int> fields_;
};

struct ShardScan {
  SampleShard shard;
  SampleRows rows;
};

// image_digest() of a whole image.
std::uint64_t digest_of(std::string_view image) noexcept;

// Reads all headers, and every byte where `contents` is asked for. `advance(bytes)` is called now
// and then, for all bytes of the shard together, and may throw to stop. Throws Error:
// invalid_argument (two members of one name, or no regular file), corrupt, unsupported, io,
// mismatch (changed meanwhile). `name` stands for the path where the file is a copy.
ShardScan scan_shard(const std::filesystem::path& path, const FieldNames& names, bool contents,
                     const std::function<void(std::int64_t)>& advance,
                     const std::filesystem::path& name = {});

}  // namespace helip::samples
