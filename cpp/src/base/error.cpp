#include "helip/error.h"

#include <cstring>

namespace helip {

const char* name_of(ErrorCode code) noexcept {
  constexpr const char* kNames[] = {"invalid_argument", "corrupt",     "mismatch",      "io",
                                    "cancelled",        "unsupported", "out_of_memory", "sample"};
  return kNames[static_cast<std::size_t>(code)];
}

Error::Error(ErrorCode code, const std::string& message, int system_errno)
    : std::runtime_error(system_errno == 0 ? message
                                           : message + ": " + std::strerror(system_errno)),
      code_(code),
      system_errno_(system_errno) {}

Error::~Error() = default;

}  // namespace helip
