#include "support/failing_calls.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstdarg>

namespace {

using Kind = FailingCalls::Kind;

std::atomic<Kind> failing_kind{Kind::none};
std::atomic<int> left{0};
std::atomic<int> failures{0};
int failing_error = EIO;
bool failing_once = false;

bool fails(Kind kind) {
  if (failing_kind != kind || left-- > 0) return false;
  if (failing_once && failures > 0) return false;
  ++failures;
  errno = failing_error;
  return true;
}

}  // namespace

FailingCalls::FailingCalls(Kind kind, int at, int error, bool once) {
  failing_error = error;
  failing_once = once;
  failures = 0;
  left = at;
  failing_kind = kind;
}

FailingCalls::~FailingCalls() { failing_kind = Kind::none; }

bool FailingCalls::happened() const noexcept { return failures > 0; }

extern "C" {

int fsync(int file) {
  struct stat status{};
  const bool directory = ::fstat(file, &status) == 0 && S_ISDIR(status.st_mode);
  if (fails(directory ? Kind::directory_fsync : Kind::fsync)) return -1;
  return static_cast<int>(::syscall(SYS_fsync, file));
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
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}

ssize_t pread(int file, void* data, size_t bytes, off_t offset) {
  if (fails(Kind::pread)) return -1;
  if (bytes > 1 && fails(Kind::short_pread)) bytes /= 2;
  return ::syscall(SYS_pread64, file, data, bytes, offset);
}

ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) {
  if (fails(Kind::pwrite)) return -1;
  if (bytes > 1 && fails(Kind::short_pwrite)) bytes /= 2;
  return ::syscall(SYS_pwrite64, file, data, bytes, offset);
}

int ftruncate(int file, off_t bytes) noexcept {
  if (fails(Kind::ftruncate)) return -1;
  return static_cast<int>(::syscall(SYS_ftruncate, file, bytes));
}

int posix_fallocate(int file, off_t offset, off_t bytes) {
  if (fails(Kind::fallocate)) return errno;
  return ::syscall(SYS_fallocate, file, 0, offset, bytes) == 0 ? 0 : errno;
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (fails(Kind::mkdir)) return -1;
  return static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

int unlink(const char* path) noexcept {
  if (fails(Kind::unlink)) return -1;
  return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path, 0));
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
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
}
