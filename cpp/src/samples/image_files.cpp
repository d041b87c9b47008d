#include "helip/image_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/retry.h"
#include "helip/error.h"
#include "helip/sample_error.h"
#include "io/file.h"

namespace helip {
namespace {

// O_NONBLOCK: opening a pipe must not wait for its writer.
constexpr int kFile = O_RDONLY | O_NONBLOCK | O_CLOEXEC;

[[noreturn]] void fail(const std::string& path) {
  const int reason = errno;
  throw SampleError(reason == ENOENT || reason == ENOTDIR ? "missing_image" : "io",
                    "cannot read \"" + path + "\": " + std::strerror(reason));
}

// Opens a path whose every link stays below `root`, in one step. -1 with errno otherwise.
int open_beneath(int root, const char* path) noexcept {
  struct open_how how{};
  how.flags = kFile;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(
      retry([&] { return ::syscall(SYS_openat2, root, path, &how, sizeof how); }));
}

// Opens a path that is known to be free of links, folder by folder, so that one that was swapped in
// meanwhile leads nowhere.
int open_without_links(int root, const std::filesystem::path& path) noexcept {
  Descriptor inside;
  int at = root;
  for (auto part = path.begin(); part != path.end();) {
    const auto name = part++;
    const int flags = part == path.end() ? kFile : O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    const int fd = retry([&] { return ::openat(at, name->c_str(), flags | O_NOFOLLOW); });
    if (fd < 0 || part == path.end()) return fd;
    inside = Descriptor(fd);
    at = fd;
  }
  errno = ENOENT;
  return -1;
}

}  // namespace

struct ImageFiles::Root {
  std::string path;
  Descriptor folder;

  static Root of(std::string path) {
    Descriptor folder(
        retry([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
    if (folder.get() < 0) throw Error(ErrorCode::io, "cannot open folder \"" + path + "\"", errno);
    return {std::move(path), std::move(folder)};
  }

  // What a path from the root means, as messages show it.
  std::string place_of(const std::string& relative) const {
    return relative.starts_with('/') ? relative : path + "/" + relative;
  }

  int open(const std::string& relative) const {
    if (!relative.starts_with('/')) {
      const int fd = open_beneath(folder.get(), relative.c_str());
      // EXDEV: leads out, or through an absolute link. The others: not in this kernel or sandbox.
      if (fd >= 0 || (errno != EXDEV && errno != ENOSYS && errno != EPERM && errno != EAGAIN)) {
        return fd;
      }
    }
    const std::unique_ptr<char, decltype(&std::free)> real(
        ::realpath(place_of(relative).c_str(), nullptr), &std::free);
    if (!real) return -1;
    const std::string below = path == "/" ? path : path + "/";
    const std::string resolved = real.get();
    if (!resolved.starts_with(below)) {
      throw SampleError("outside_root", "\"" + relative + "\" leads out of " + path +
                                            "; pass follow_links=True if its links are to be "
                                            "trusted");
    }
    return open_without_links(folder.get(), resolved.substr(below.size()));
  }
};

ImageFiles::ImageFiles(std::vector<std::string> roots, std::vector<std::int64_t> starts,
                       PathList paths, bool follow_links, bool absolute_paths)
    : starts_(std::move(starts)), paths_(paths), follow_links_(follow_links) {
  const bool fits = !paths.offsets.empty() && starts_.size() == roots.size() + 1 &&
                    starts_.front() == 0 && starts_.back() == paths.size() &&
                    std::is_sorted(starts_.begin(), starts_.end()) && paths.offsets.front() == 0 &&
                    paths.offsets.back() == static_cast<std::int64_t>(paths.blob.size()) &&
                    std::is_sorted(paths.offsets.begin(), paths.offsets.end());
  if (!fits) {
    throw Error(ErrorCode::invalid_argument,
                "roots, starts and offsets of picture files do not fit: starts must rise from 0 to "
                "the number of paths, offsets from 0 to the length of the blob");
  }
  for (std::string& path : roots) roots_.push_back(Root::of(std::move(path)));
  if (absolute_paths) anywhere_ = std::make_unique<const Root>(Root::of("/"));
}

ImageFiles::~ImageFiles() = default;

void ImageFiles::read(std::int64_t row, std::vector<std::byte>& out) const {
  const std::string relative(paths_[row]);
  if (relative.empty()) throw SampleError("missing_image", "it names no picture");
  const auto next = std::upper_bound(starts_.begin(), starts_.end(), row);
  const Root& root = anywhere_ && relative.starts_with('/')
                         ? *anywhere_
                         : roots_[static_cast<std::size_t>(next - starts_.begin()) - 1];
  const std::string place = root.place_of(relative);
  const Descriptor file(follow_links_ ? retry([&] { return ::open(place.c_str(), kFile); })
                                      : root.open(relative));
  struct stat status{};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) fail(place);
  if (!S_ISREG(status.st_mode)) {
    throw SampleError("io", place + " is " + kind_of_file(status.st_mode) + ", not a regular file");
  }
  if (status.st_size > kMaxBytes) {
    throw SampleError("too_large", place + " has " + std::to_string(status.st_size) +
                                       " bytes, more than " + std::to_string(kMaxBytes));
  }
  // One byte more shows a file that grows while it is read.
  out.resize(static_cast<std::size_t>(status.st_size) + 1);
  std::size_t got = 0;
  while (got < out.size()) {
    const auto count =
        retry([&] { return ::read(file.get(), out.data() + got, out.size() - got); });
    if (count < 0) fail(place);
    if (count == 0) break;
    got += static_cast<std::size_t>(count);
  }
  if (got + 1 != out.size()) throw SampleError("io", place + " changed while it was read");
  out.resize(got);
}

}  // namespace helip
