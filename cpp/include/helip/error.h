// The one exception type of the library. A message gives the value, the bound and the mend.
#pragma once

#include <stdexcept>
#include <string>

#include "helip/export.h"

namespace helip {

enum class ErrorCode {
  invalid_argument,  // the caller passed something outside a documented bound
  corrupt,           // bytes on disk are not what their manifest says
  mismatch,          // two things that must belong together do not (a table and a data set)
  io,                // the operating system refused a read or a write
  cancelled,         // the progress callback asked to stop
  unsupported,       // this build or this machine cannot do it
  out_of_memory,     // an allocation failed
  sample,            // one sample cannot be read: a SampleError (helip/sample_error.h)
};

// "invalid_argument", "corrupt", ...: the names that Python shows as `error.code`.
[[nodiscard]] HELIP_EXPORT const char* name_of(ErrorCode code) noexcept;

class HELIP_EXPORT Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, int system_errno = 0);
  ~Error() override;

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  // errno of the failed system call, or 0.
  [[nodiscard]] int system_errno() const noexcept { return system_errno_; }

 private:
  ErrorCode code_;
  int system_errno_;
};

}  // namespace helip
