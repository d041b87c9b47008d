#include "samples/shard_file.h"

#include <sys/stat.h>

#include <cerrno>

#include "base/refuse.h"

namespace helip::samples {
namespace {

namespace fs = std::filesystem;

FileStamp stamp_of_status(const struct stat& status) {
  return {status.st_size, modified_of(status)};
}

}  // namespace

bool is_url(const fs::path& path) {
  const std::string& text = path.native();
  return !text.starts_with('/') && text.find("://") != std::string::npos;
}

Descriptor open_shard_file(const fs::path& path) {
  if (is_url(path)) {
    fail(ErrorCode::unsupported, path.string(),
         " is a URL, and this reads files alone; open the data set in Python");
  }
  return open_given_file(path);
}

FileStamp stamp_of(const Descriptor& file, const fs::path& path) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) {
    throw Error(ErrorCode::io, "cannot stat \"" + path.string() + "\"", errno);
  }
  return stamp_of_status(status);
}

FileStamp stamp_of(const fs::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    throw Error(ErrorCode::io, "cannot read \"" + path.string() + "\"", errno);
  }
  return stamp_of_status(status);
}

void check_stamp(const SampleShard& shard, const FileStamp& now, const std::string& remedy) {
  if (now == FileStamp{shard.bytes, shard.modified}) return;
  const std::string what =
      now.bytes != shard.bytes
          ? std::to_string(shard.bytes) + " bytes then, " + std::to_string(now.bytes) + " now"
          : "as many bytes, but written at another time";
  fail(ErrorCode::mismatch, shard.path.string(), " was changed after it was indexed (", what, "); ",
       remedy);
}

}  // namespace helip::samples
