#include "helip/error.h"

#include <cstring>

namespace helip {

const char* name_of(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::corrupt: return "corrupt";
    case ErrorCode::mismatch: return "mismatch";
    case ErrorCode::io: return "io";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::sample: return "sample";
  }
  return "unknown";
}

Error::Error(ErrorCode code, const std::string& message, int system_errno)
    : std::runtime_error(system_errno == 0 ? message
                                           : message + ": " + std::strerror(system_errno)),
      code_(code),
      system_errno_(system_errno) {}

Error::~Error() = default;

}  // namespace helip
