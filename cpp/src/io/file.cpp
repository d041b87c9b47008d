#include "io/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <memory>
#include <string_view>
#include <utility>

#include "base/refuse.h"
#include "base/retry.h"

namespace helip {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& action, const fs::path& path, int error = errno) {
  throw Error(ErrorCode::io, "cannot " + action + " " + quoted(path), error);
}

// Who holds a lock, for the message of whoever wants it: not more than a hint, so no error.
void name_owner(const Descriptor& file) noexcept {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  char text[320];
  const int size =
      std::snprintf(text, sizeof text, "pid %ld on %s\n", static_cast<long>(::getpid()), host);
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), text, static_cast<std::size_t>(size), 0) != size) {
    (void)!::ftruncate(file.get(), 0);
  }
}

std::string owner_of(const Descriptor& file) {
  char text[320];
  const auto size = ::pread(file.get(), text, sizeof text, 0);
  std::string owner;
  for (ssize_t i = 0; i < size && text[i] >= ' ' && text[i] <= '~'; ++i) owner += text[i];
  return owner.empty() ? owner : " (" + owner + ")";
}

// Neither waits for the writer of a pipe nor reads a device: `refuse(kind)` throws of what is no
// regular file.
template <typename Refuse>
Descriptor open_regular(const fs::path& path, int flags, const Refuse& refuse) {
  Descriptor file(
      retry([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags); }));
  struct stat status{};
  if (file.get() < 0) fail("open", path);
  if (::fstat(file.get(), &status) != 0) fail("stat", path);
  if (!S_ISREG(status.st_mode)) refuse(kind_of_file(status.st_mode));
  return file;
}

}  // namespace

std::string quoted(const fs::path& path) { return '"' + path.string() + '"'; }

void throw_damaged(const fs::path& file, const std::string& what, const std::string& remedy) {
  helip::fail(ErrorCode::corrupt, quoted(file), " is damaged: ", what, remedy.empty() ? "" : "; ",
              remedy);
}

bool path_exists(const fs::path& path) {
  std::error_code error;
  const bool found = fs::exists(path, error);
  if (error) fail("look at", path, error.value());
  return found;
}

bool directory_exists(const fs::path& path) {
  std::error_code error;
  const bool found = fs::is_directory(path, error);
  if (error && error != std::errc::no_such_file_or_directory &&
      error != std::errc::not_a_directory) {
    fail("look at", path, error.value());
  }
  return found;
}

std::vector<std::string> names_in(const fs::path& directory) {
  // Not by std::filesystem, whose iterator ends the program where an allocation fails.
  struct Close {
    void operator()(DIR* found) const noexcept { ::closedir(found); }
  };
  const std::unique_ptr<DIR, Close> open(::opendir(directory.c_str()));
  if (!open) fail("list", directory);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(open.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) fail("list", directory);
  return names;
}

fs::path absolute_path(const fs::path& path) {
  std::error_code error;
  const fs::path found = fs::absolute(path, error);
  if (error) fail("find", path, error.value());
  return found.lexically_normal();
}

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Descriptor::Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Descriptor::close(const fs::path& name) {
  const int fd = std::exchange(fd_, -1);
  // EINTR still closes the descriptor on Linux; repeating could close somebody else's.
  if (fd >= 0 && ::close(fd) != 0 && errno != EINTR) fail("close", name);
}

int Descriptor::release() noexcept { return std::exchange(fd_, -1); }

const char* kind_of_file(mode_t mode) noexcept {
  switch (mode & S_IFMT) {
    case S_IFREG: return "a regular file";
    case S_IFDIR: return "a directory";
    case S_IFIFO: return "a pipe";
    case S_IFSOCK: return "a socket";
    default: return "a device";
  }
}

Descriptor open_for_reading(const fs::path& path) {
  return open_regular(path, O_NOFOLLOW, [&](const char* kind) {
    helip::fail(ErrorCode::corrupt, quoted(path), " is ", kind,
                ", not a regular file; restore it from a copy or write it again");
  });
}

Descriptor duplicate(const Descriptor& file, const fs::path& name) {
  const int other = ::fcntl(file.get(), F_DUPFD_CLOEXEC, 0);
  if (other < 0) throw Error(ErrorCode::io, "cannot open " + quoted(name), errno);
  return Descriptor(other);
}

Descriptor open_given_file(const fs::path& path) {
  return open_regular(path, 0, [&](const char* kind) {
    refuse(quoted(path), " is ", kind, ", not a regular file; copy what it holds to a file");
  });
}

std::int64_t modified_of(const struct stat& status) noexcept {
  const auto seconds = static_cast<std::uint64_t>(status.st_mtim.tv_sec);
  const auto rest = static_cast<std::uint64_t>(status.st_mtim.tv_nsec);
  return static_cast<std::int64_t>(seconds * 1'000'000'000 + rest);
}

std::int64_t file_size(const Descriptor& file, const fs::path& name) {
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) fail("stat", name);
  return status.st_size;
}

std::size_t read_up_to(const Descriptor& file, void* out, std::size_t bytes, std::int64_t offset,
                       const fs::path& name) {
  std::size_t done = 0;
  while (done < bytes) {
    const auto got = retry([&] {
      return ::pread(file.get(), static_cast<char*>(out) + done, bytes - done,
                     offset + static_cast<std::int64_t>(done));
    });
    if (got < 0) fail("read", name);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

void read_exactly(const Descriptor& file, void* out, std::size_t bytes, std::int64_t offset,
                  const fs::path& name) {
  const std::size_t done = read_up_to(file, out, bytes, offset, name);
  if (done == bytes) return;
  helip::fail(ErrorCode::corrupt, '"', name.string(), "\" ends at byte ",
              offset + static_cast<std::int64_t>(done), ", ", bytes - done,
              " bytes early; restore it from a copy");
}

std::string read_small_file(const fs::path& path, std::int64_t limit) {
  const Descriptor file = open_for_reading(path);
  const std::int64_t size = file_size(file, path);
  if (size > limit) {
    helip::fail(ErrorCode::corrupt, '"', path.string(), "\" has ", size, " bytes; at most ", limit,
                " are plausible");
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  read_exactly(file, text.data(), text.size(), 0, path);
  return text;
}

void sync_directory(const fs::path& directory) {
  const fs::path name = directory.empty() ? fs::path(".") : directory;
  Descriptor file(retry([&] { return ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); }));
  if (file.get() < 0) fail("open the directory", name);
  // Some network file systems cannot sync a directory and say EINVAL.
  if (retry([&] { return ::fsync(file.get()); }) != 0 && errno != EINVAL) {
    fail("sync the directory", name);
  }
}

void make_directory(const fs::path& directory) {
  if (directory_exists(directory)) return;
  const fs::path parent = directory.parent_path();
  if (!parent.empty() && !path_exists(parent)) make_directory(parent);
  if (::mkdir(directory.c_str(), 0777) != 0 && errno != EEXIST) {
    fail("create the directory", directory);
  }
  if (!directory_exists(directory)) {
    refuse('"', directory.string(), "\" exists and is not a directory; choose another path");
  }
  sync_directory(parent);
}

void remove_file(const fs::path& path) noexcept { ::unlink(path.c_str()); }

void remove_file_in(const fs::path& directory, const std::string& name) noexcept {
  char path[PATH_MAX];  // as a path is made where an allocation may fail
  const int size = std::snprintf(path, sizeof path, "%s/%s", directory.c_str(), name.c_str());
  if (size > 0 && size < PATH_MAX) ::unlink(path);
}

void remove_empty_directory(const fs::path& path) noexcept { ::rmdir(path.c_str()); }

std::int64_t free_bytes(const fs::path& directory) {
  struct statvfs status{};
  if (retry([&] { return ::statvfs(directory.c_str(), &status); }) != 0) fail("stat", directory);
  return static_cast<std::int64_t>(status.f_bavail * status.f_frsize);
}

void remove_directory(const fs::path& path) noexcept {
  try {
    for (const std::string& name : names_in(path)) {
      const fs::path inner = path / name;
      if (::unlink(inner.c_str()) != 0 && errno == EISDIR) remove_directory(inner);
    }
  } catch (const std::exception&) {
  }
  remove_empty_directory(path);
}

PendingFile::PendingFile(fs::path directory) : directory_(std::move(directory)) {
  static std::atomic<unsigned> counter{0};
  temporary_ =
      directory_ / (kPrefix + std::to_string(::getpid()) + "-" + std::to_string(counter++));
  file_ = Descriptor(retry(
      [&] { return ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }));
  if (file_.get() < 0) fail("create", temporary_);
}

PendingFile::~PendingFile() {
  if (!temporary_.empty()) remove_file(temporary_);
}

PendingFile::PendingFile(PendingFile&& other) noexcept
    : directory_(std::move(other.directory_)),
      temporary_(std::exchange(other.temporary_, fs::path())),
      file_(std::move(other.file_)) {}

void PendingFile::write_at(const void* data, std::size_t bytes, std::int64_t offset) {
  const auto* cursor = static_cast<const char*>(data);
  while (bytes > 0) {
    const auto put = retry([&] { return ::pwrite(file_.get(), cursor, bytes, offset); });
    if (put < 0 && errno == EFAULT) {  // no signal: the system met it, not this process
      helip::fail(ErrorCode::corrupt, "what is written to ", quoted(temporary_),
                  " comes from a file that became shorter while it was read; restore that from a "
                  "copy or write it again, and open it anew");
    }
    if (put < 0) fail("write", temporary_);
    cursor += put;
    offset += put;
    bytes -= static_cast<std::size_t>(put);
  }
}

void PendingFile::read_at(void* out, std::size_t bytes, std::int64_t offset) const {
  read_exactly(file_, out, bytes, offset, temporary_);
}

void PendingFile::reserve(std::int64_t bytes) {
  if (bytes <= 0) return;
  const int error = reserve_bytes(file_.get(), 0, bytes);
  if (error == 0 || error == EINVAL || error == EOPNOTSUPP) return;
  errno = error;
  fail("reserve " + std::to_string(bytes) + " bytes for", temporary_);
}

void PendingFile::truncate(std::int64_t bytes) {
  if (retry([&] { return ::ftruncate(file_.get(), bytes); }) != 0) fail("truncate", temporary_);
}

void PendingFile::sync() {
  if (retry([&] { return ::fsync(file_.get()); }) != 0) fail("sync", temporary_);
}

void PendingFile::begin_sync() noexcept {
#ifdef SYNC_FILE_RANGE_WRITE
  (void)::sync_file_range(file_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
#endif
}

void PendingFile::publish(const std::string& name) {
  replace(name);
  try {
    sync_directory(directory_);
  } catch (...) {
    remove_file_in(directory_, name);
    throw;
  }
}

void PendingFile::replace(const std::string& name) {
  const fs::path path = directory_ / name;
  sync();
  file_.close(temporary_);
  if (::rename(temporary_.c_str(), path.c_str()) != 0) fail("rename", temporary_);
  temporary_.clear();
}

DirectoryLock::DirectoryLock(const fs::path& directory) {
  if (take(directory)) return;
  helip::fail(ErrorCode::io, "another process", owner_of(file_), " is writing to \"",
              directory.string(), "\"; wait for it to end, or choose another path");
}

std::optional<DirectoryLock> DirectoryLock::if_free(const fs::path& directory) {
  DirectoryLock lock;
  if (!lock.take(directory)) return {};
  return lock;
}

bool DirectoryLock::take(const fs::path& directory) {
  const fs::path path = directory / kLockName;
  for (;;) {
    file_ = Descriptor(retry(
        [&] { return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666); }));
    if (file_.get() < 0) fail("open", path);
    if (retry([&] { return ::flock(file_.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno != EWOULDBLOCK) fail("lock", path);
      return false;
    }
    // An owner that gave up removes its directory: make sure that we locked the file of that name.
    struct stat held{}, named{};
    if (::fstat(file_.get(), &held) != 0) fail("stat", path);
    if (::stat(path.c_str(), &named) == 0 && held.st_ino == named.st_ino &&
        held.st_dev == named.st_dev) {
      name_owner(file_);
      return true;
    }
  }
}

}  // namespace helip
