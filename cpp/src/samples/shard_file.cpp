#include "samples/shard_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "base/refuse.h"

namespace helip::samples {
namespace {

namespace fs = std::filesystem;

FileStamp stamp_of_status(const struct stat& status) {
  return {status.st_size,
          std::int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec};
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
  int fd = -1;
  // O_NONBLOCK: a pipe must not wait for its writer.
  do {
    fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) throw Error(ErrorCode::io, "cannot open \"" + path.string() + "\"", errno);
  Descriptor file(fd);
  struct stat status{};
  if (::fstat(fd, &status) != 0) {
    throw Error(ErrorCode::io, "cannot stat \"" + path.string() + "\"", errno);
  }
  if (!S_ISREG(status.st_mode)) {
    refuse('"', path.string(), "\" is not a regular file; give tar files");
  }
  return file;
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

void check_stamp(const SampleShard& shard, const FileStamp& now, const std::string& mend) {
  if (now == FileStamp{shard.bytes, shard.modified}) return;
  const std::string what =
      now.bytes != shard.bytes
          ? std::to_string(shard.bytes) + " bytes then, " + std::to_string(now.bytes) + " now"
          : "as many bytes, but written at another time";
  fail(ErrorCode::mismatch, shard.path.string(), " was changed after it was indexed (", what, "); ",
       mend);
}

}  // namespace helip::samples
