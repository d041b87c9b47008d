/* What newer headers of glibc call and glibc 2.28 lacks, on top of what it has. Linked into the
   libraries of a wheel and hidden there. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

/* glibc 2.34: the clock of a wait. Before, waits are of the clock that the condition was made with,
   the real time clock: what is left is counted from there, as libstdc++ did. */
int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *until) {
  struct timespec now, deadline;
  if (clock == CLOCK_REALTIME) return pthread_cond_timedwait(condition, mutex, until);
  if (clock_gettime(clock, &now) != 0 || clock_gettime(CLOCK_REALTIME, &deadline) != 0)
    return errno;
  deadline.tv_sec += until->tv_sec - now.tv_sec;
  deadline.tv_nsec += until->tv_nsec - now.tv_nsec;
  while (deadline.tv_nsec < 0) deadline.tv_nsec += 1000000000L, --deadline.tv_sec;
  while (deadline.tv_nsec >= 1000000000L) deadline.tv_nsec -= 1000000000L, ++deadline.tv_sec;
  return pthread_cond_timedwait(condition, mutex, &deadline);
}

/* glibc 2.32: 0 says that there may be threads, so counts are always atomic. */
char __libc_single_threaded = 0;

/* glibc 2.38: numbers as C23 reads them, which differ in "0b" alone. No header names the older
   functions there, so they are called by the names of their symbols. */
long long old_strtoll(const char *text, char **end, int base) __asm__("strtoll");
unsigned long long old_strtoull(const char *text, char **end, int base) __asm__("strtoull");
int old_vsscanf(const char *text, const char *format, va_list to) __asm__("vsscanf");

long __isoc23_strtol(const char *text, char **end, int base) { return old_strtoll(text, end, base); }
unsigned long __isoc23_strtoul(const char *text, char **end, int base) {
  return old_strtoull(text, end, base);
}
long long __isoc23_strtoll(const char *text, char **end, int base) {
  return old_strtoll(text, end, base);
}
unsigned long long __isoc23_strtoull(const char *text, char **end, int base) {
  return old_strtoull(text, end, base);
}
int __isoc23_sscanf(const char *text, const char *format, ...) {
  va_list to;
  va_start(to, format);
  const int read = old_vsscanf(text, format, to);
  va_end(to);
  return read;
}

/* glibc 2.33: before, these were in each program, and called functions with the version of the
   structure. */
#ifdef __x86_64__
#define STAT_VERSION 1
#else
#define STAT_VERSION 0
#endif
int __xstat(int version, const char *path, struct stat *out);
int __lxstat(int version, const char *path, struct stat *out);
int __fxstat(int version, int file, struct stat *out);
int __fxstatat(int version, int folder, const char *path, struct stat *out, int flags);
int stat(const char *path, struct stat *out) { return __xstat(STAT_VERSION, path, out); }
int lstat(const char *path, struct stat *out) { return __lxstat(STAT_VERSION, path, out); }
int fstat(int file, struct stat *out) { return __fxstat(STAT_VERSION, file, out); }
int fstatat(int folder, const char *path, struct stat *out, int flags) {
  return __fxstatat(STAT_VERSION, folder, path, out, flags);
}

/* Debian compiles its static libpng for programs, which may take the place of a variable of glibc in
   their own memory; a library may not. There it has this name (see build.py). */
FILE *helip_stderr;
__attribute__((constructor)) static void set_stderr(void) { helip_stderr = stderr; }
