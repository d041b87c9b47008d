// Error(invalid_argument) from the parts of its message.
#pragma once

#include <sstream>

#include "helip/error.h"

namespace helip::load {

template <typename... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(ErrorCode::invalid_argument, message.str());
}

}  // namespace helip::load
