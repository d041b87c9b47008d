#include "support/failing_calls.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>

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

ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) {
  if (fails(Kind::pwrite)) return -1;
  return ::syscall(SYS_pwrite64, file, data, bytes, offset);
}

int rename(const char* from, const char* to) {
  if (fails(Kind::rename)) return -1;
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
}
