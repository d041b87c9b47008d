// Stands before the C library's calls that change a disk (LD_PRELOAD): counts them once it is told to,
// and sends the process a signal before one of them. SIGKILL ends it there, or in the middle of a
// write; of any other the call is made.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_long left = -1;  // calls until the one; negative: nothing is counted
static int number;             // of the signal
static double* moment;         // seconds of CLOCK_MONOTONIC when it was sent; forks share it

__attribute__((constructor)) static void share_moment(void) {
  moment = mmap(0, sizeof *moment, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

void signal_before_change(long at, int signal_number) {
  number = signal_number;
  atomic_store(&left, at);
}

double signalled_at(void) { return *moment; }

static int now(void) {
  return atomic_load(&left) >= 0 && atomic_fetch_sub(&left, 1) == 0;
}

static void send_signal(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  *moment = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
  kill(getpid(), number);
  while (number == SIGKILL) pause();
}

static void change(void) {
  if (now()) send_signal();
}

static int is_file(int file) {
  struct stat status;
  return fstat(file, &status) == 0 && S_ISREG(status.st_mode);
}

#define WRITE(name, system, parameters, half, arguments)                      \
  ssize_t name parameters {                                                   \
    if (is_file(file) && now()) {                                             \
      if (bytes > 1 && number == SIGKILL) (void)!syscall half;                \
      send_signal();                                                          \
    }                                                                         \
    return syscall arguments;                                                 \
  }
WRITE(write, SYS_write, (int file, const void* data, size_t bytes),
      (SYS_write, file, data, bytes / 2), (SYS_write, file, data, bytes))
WRITE(pwrite, SYS_pwrite64, (int file, const void* data, size_t bytes, off_t at),
      (SYS_pwrite64, file, data, bytes / 2, at), (SYS_pwrite64, file, data, bytes, at))
WRITE(pwrite64, SYS_pwrite64, (int file, const void* data, size_t bytes, off_t at),
      (SYS_pwrite64, file, data, bytes / 2, at), (SYS_pwrite64, file, data, bytes, at))
WRITE(sendfile, SYS_sendfile, (int file, int from, off_t* at, size_t bytes),
      (SYS_sendfile, file, from, at, bytes / 2), (SYS_sendfile, file, from, at, bytes))

// As the system has them: openat creates or cuts a file with these flags.
static int opened(int folder, const char* path, int flags, mode_t mode) {
  if ((flags & O_TRUNC) != 0 || (flags & O_TMPFILE) == O_TMPFILE ||
      ((flags & O_CREAT) != 0 && faccessat(folder, path, F_OK, 0) != 0)) {
    change();
  }
  return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define OPEN(name, parameters, folder)                 \
  int name parameters {                                \
    va_list rest;                                      \
    va_start(rest, flags);                             \
    mode_t mode = va_arg(rest, mode_t);                \
    va_end(rest);                                      \
    return opened(folder, path, flags, mode);          \
  }
OPEN(open, (const char* path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char* path, int flags, ...), AT_FDCWD)
OPEN(openat, (int folder, const char* path, int flags, ...), folder)
OPEN(openat64, (int folder, const char* path, int flags, ...), folder)

#define CHANGE(result, name, parameters, arguments) \
  result name parameters {                          \
    change();                                       \
    return (result)syscall arguments;               \
  }
CHANGE(int, fsync, (int file), (SYS_fsync, file))
CHANGE(int, fdatasync, (int file), (SYS_fdatasync, file))
CHANGE(int, ftruncate, (int file, off_t bytes), (SYS_ftruncate, file, bytes))
CHANGE(int, ftruncate64, (int file, off_t bytes), (SYS_ftruncate, file, bytes))
CHANGE(int, mkdir, (const char* path, mode_t mode), (SYS_mkdirat, AT_FDCWD, path, mode))
CHANGE(int, unlink, (const char* path), (SYS_unlinkat, AT_FDCWD, path, 0))
CHANGE(int, unlinkat, (int folder, const char* path, int flags), (SYS_unlinkat, folder, path, flags))
CHANGE(int, rmdir, (const char* path), (SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR))
CHANGE(int, rename, (const char* from, const char* to),
       (SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0))
CHANGE(int, renameat, (int old, const char* from, int new, const char* to),
       (SYS_renameat2, old, from, new, to, 0))
CHANGE(int, link, (const char* from, const char* to),
       (SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0))
CHANGE(int, linkat, (int old, const char* from, int new, const char* to, int flags),
       (SYS_linkat, old, from, new, to, flags))
CHANGE(ssize_t, copy_file_range,
       (int from, off64_t* at, int to, off64_t* where, size_t bytes, unsigned flags),
       (SYS_copy_file_range, from, at, to, where, bytes, flags))
