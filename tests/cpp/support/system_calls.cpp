// The calls that the library makes, as functions of the test program: they stand before the C
// library's.
#include "support/system_calls.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdarg>
#include <map>
#include <mutex>
#include <string>

namespace {

using Kind = FailingCalls::Kind;
using Change = DiskChange::Kind;

// One change is told and made at a time.
std::recursive_mutex& changing() {
  static std::recursive_mutex mutex;
  return mutex;
}

std::string path_of(int file) {
  std::array<char, 4096> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(file);
  const auto size = ::readlink(link.c_str(), path.data(), path.size());
  return {path.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

bool is_below(const std::string& path, const DiskWatch& watch) {
  return path.starts_with(watch.folder().native());
}

// Makes a call that changes the disk and tells of it. `make` returns whether it did.
template <typename Make>
void change(const DiskChange& told, const std::string& path, Make make) {
  DiskWatch* const watch = watching();
  if (watch == nullptr || !is_below(path, *watch)) {
    make();
    return;
  }
  const std::lock_guard lock(changing());
  watch->before(told);
  if (make()) watch->after(told);
}

bool is_watched() { return watching() != nullptr; }

std::atomic<long long> reserved{0};

// The result of a call that takes a path. Nothing is allocated unless somebody watches: an
// allocation that fails here would end the program.
template <typename Call>
int changed(Change kind, const char* path, const char* to, Call call) {
  if (!is_watched()) return call();
  int result = 0;
  const DiskChange told{kind, path, to, 0, 0, {}};
  change(told, told.path.native(), [&] { return (result = call()) == 0; });
  return result;
}

}  // namespace

long long reserved_bytes() noexcept { return reserved; }

std::uint64_t number_of(int file, bool is_new) {
  static std::map<ino_t, std::uint64_t> numbers;
  static std::uint64_t last = 0;
  struct stat status{};
  if (::fstat(file, &status) != 0) return 0;
  const std::lock_guard lock(changing());
  const auto [place, added] = numbers.try_emplace(status.st_ino, 0);
  if (added || is_new) place->second = ++last;
  return place->second;
}

extern "C" {

int fsync(int file) {
  struct stat status{};
  const bool directory = ::fstat(file, &status) == 0 && S_ISDIR(status.st_mode);
  if (fails(directory ? Kind::directory_fsync : Kind::fsync)) return -1;
  int result = 0;
  const auto call = [&] { return (result = static_cast<int>(::syscall(SYS_fsync, file))) == 0; };
  if (!is_watched()) {
    call();
    return result;
  }
  const std::string path = path_of(file);
  DiskChange told{directory ? Change::sync_directory : Change::sync, path, {}, 0, 0, {}};
  if (!directory) told.file = number_of(file);
  change(told, path, call);
  return result;
}

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    std::va_list rest;
    va_start(rest, flags);
    mode = static_cast<mode_t>(va_arg(rest, int));
    va_end(rest);
  }
  if (fails(Kind::open)) return -1;
  const auto call = [&] {
    return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
  };
  if (!is_watched() || (flags & O_CREAT) == 0 || ::access(path, F_OK) == 0) return call();
  int file = -1;
  DiskChange told{Change::create, path, {}, 0, 0, {}};
  change(told, path, [&] {
    file = call();
    // The number of the file is known once there is one.
    if (file >= 0) told.file = number_of(file, true);
    return file >= 0;
  });
  return file;
}

ssize_t pread(int file, void* data, size_t bytes, off_t offset) {
  if (fails(Kind::pread)) return -1;
  if (bytes > 1 && fails(Kind::short_pread)) bytes /= 2;
  return ::syscall(SYS_pread64, file, data, bytes, offset);
}

ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) {
  if (fails(Kind::pwrite)) return -1;
  if (bytes > 1 && fails(Kind::short_pwrite)) bytes /= 2;
  ssize_t result = 0;
  const auto call = [&] {
    return (result = ::syscall(SYS_pwrite64, file, data, bytes, offset)) >= 0;
  };
  if (!is_watched()) {
    call();
    return result;
  }
  const std::string path = path_of(file);
  change(
      {Change::write, path, {}, number_of(file), offset, {static_cast<const char*>(data), bytes}},
      path, call);
  return result;
}

int ftruncate(int file, off_t bytes) noexcept {
  if (fails(Kind::ftruncate)) return -1;
  int result = 0;
  const auto call = [&] {
    return (result = static_cast<int>(::syscall(SYS_ftruncate, file, bytes))) == 0;
  };
  if (is_watched()) {
    change({Change::resize, {}, {}, number_of(file), bytes, {}}, path_of(file), call);
  } else {
    call();
  }
  return result;
}

int posix_fallocate(int file, off_t offset, off_t bytes) {
  if (fails(Kind::fallocate)) return errno;
  reserved += bytes;
  int result = 0;
  const auto call = [&] {
    result = ::syscall(SYS_fallocate, file, 0, offset, bytes) == 0 ? 0 : errno;
    return result == 0;
  };
  struct stat status{};
  // Never makes a file shorter.
  if (is_watched() && ::fstat(file, &status) == 0 && status.st_size < offset + bytes) {
    change({Change::resize, {}, {}, number_of(file), offset + bytes, {}}, path_of(file), call);
  } else {
    call();
  }
  return result;
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (fails(Kind::mkdir)) return -1;
  return changed(Change::make_directory, path, "",
                 [&] { return static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode)); });
}

int unlink(const char* path) noexcept {
  if (fails(Kind::unlink)) return -1;
  return changed(Change::remove, path, "",
                 [&] { return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0)); });
}

int rmdir(const char* path) noexcept {
  return changed(Change::remove_directory, path, "", [&] {
    return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR));
  });
}

int flock(int file, int operation) noexcept {
  if (fails(Kind::flock)) return -1;
  return static_cast<int>(::syscall(SYS_flock, file, operation));
}

// As the system does it: what fails is closed all the same.
int close(int file) {
  const int result = static_cast<int>(::syscall(SYS_close, file));
  return fails(Kind::close) ? -1 : result;
}

void* mmap(void* address, size_t bytes, int protection, int flags, int file,
           off_t offset) noexcept {
  if (file >= 0 && fails(Kind::mmap)) return MAP_FAILED;
  return reinterpret_cast<void*>(
      ::syscall(SYS_mmap, address, bytes, protection, flags, file, offset));
}

int rename(const char* from, const char* to) {
  if (fails(Kind::rename)) return -1;
  return changed(Change::rename, from, to, [&] {
    return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
  });
}
}
