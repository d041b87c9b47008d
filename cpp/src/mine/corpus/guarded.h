// What every entry point of mining runs in.
#pragma once

#include <new>
#include <stdexcept>

#include "base/floating_mode.h"
#include "helip/error.h"

namespace helip::mining {

// Rounds to nearest. Allocations that fail in the calling thread become Errors; those of a team's
// threads are already.
template <typename Body>
auto guarded(const Body& body) {
  constexpr const char* kMessage =
      "there is not enough memory for the pools; lower k, memory= or the number of threads";
  const DefaultFloatingMode mode;
  try {
    return body();
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, kMessage);
  } catch (const std::length_error&) {
    throw Error(ErrorCode::out_of_memory, kMessage);
  }
}

}  // namespace helip::mining
