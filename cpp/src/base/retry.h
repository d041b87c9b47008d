// Calls to the system that a signal may interrupt.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

namespace helip {

// What `call` returns, made again as long as a signal interrupts it.
template <typename Call>
auto retry(const Call& call) noexcept(noexcept(call())) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// As posix_fallocate() of bytes [begin, end) of a file. In pieces once a signal came: some file
// systems then undo what was done, and where one comes ever again, all of it would never be done.
inline int reserve_bytes(int file, std::int64_t begin, std::int64_t end) noexcept {
  constexpr std::int64_t kPiece = std::int64_t{1} << 23;
  int error = ::posix_fallocate(file, begin, end - begin);
  if (error != EINTR) return error;
  for (std::int64_t at = begin; at < end; at += error == 0 ? kPiece : 0) {
    error = ::posix_fallocate(file, at, std::min(kPiece, end - at));
    if (error != 0 && error != EINTR) break;
  }
  return error;
}

}  // namespace helip
