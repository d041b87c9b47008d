// Calls to the system that a signal may interrupt.
#pragma once

#include <cerrno>

namespace helip {

// What `call` returns, made again as long as a signal interrupts it.
template <typename Call>
auto retry(const Call& call) noexcept(noexcept(call())) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

}  // namespace helip
