// Makes calls to the operating system fail, one after the other, to see what is left then.
#pragma once

#include <cerrno>

// While it lives, the call of this kind with the number `at` (from 0) of all that are made fails
// with `error`, and those after it too unless `once`. Of the test program alone: its own functions
// of these names stand before the C library's.
class FailingCalls {
 public:
  enum class Kind {
    none,
    open,
    pread,
    short_pread,  // does half of what it is asked for, and does not fail
    pwrite,
    short_pwrite,
    fsync,
    directory_fsync,
    rename,
    ftruncate,
    fallocate,
    mkdir,
    unlink,
    flock,
    close,
    mmap,
  };

  FailingCalls(Kind kind, int at, int error = EIO, bool once = false);
  ~FailingCalls();
  FailingCalls(const FailingCalls&) = delete;
  FailingCalls& operator=(const FailingCalls&) = delete;

  bool happened() const noexcept;  // whether a call failed
};

// By calls of posix_fallocate() so far.
long long reserved_bytes() noexcept;
