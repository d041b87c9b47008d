// Errors from the parts of their messages.
#pragma once

#include <sstream>

#include "helip/error.h"

namespace helip {

template <typename... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(code, message.str());
}

// What the caller passed lies outside of a documented bound.
template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  fail(ErrorCode::invalid_argument, parts...);
}

}  // namespace helip
