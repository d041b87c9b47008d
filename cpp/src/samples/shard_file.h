// A shard's file: opened whatever links lead to it, and known again by its size and time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "helip/sample_index.h"
#include "io/file.h"

namespace helip::samples {

struct FileStamp {
  std::int64_t bytes = 0;
  std::int64_t modified = 0;  // nanoseconds since 1970
  bool operator==(const FileStamp&) const = default;
};

// Whether a shard's path is a URL, and no file.
bool is_url(const std::filesystem::path& path);

// Throws Error: io, invalid_argument (no regular file), unsupported (a URL).
Descriptor open_shard_file(const std::filesystem::path& path);
FileStamp stamp_of(const Descriptor& file, const std::filesystem::path& path);
FileStamp stamp_of(const std::filesystem::path& path);

// Throws Error(mismatch), saying what changed, unless the file is the one that was indexed.
void check_stamp(const SampleShard& shard, const FileStamp& now, const std::string& remedy);

}  // namespace helip::samples
