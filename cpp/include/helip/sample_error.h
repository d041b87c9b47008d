// One sample cannot be read; the others can.
#pragma once

#include <string>

#include "helip/error.h"
#include "helip/export.h"

namespace helip {

// Of code ErrorCode::sample. `reason` is a word that is counted by, such as "missing_image",
// "unreadable_image", "unsupported_format", "too_large", "too_slow" or "io".
class HELIP_EXPORT SampleError : public Error {
 public:
  SampleError(std::string reason, const std::string& message);
  ~SampleError() override;

  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

 private:
  std::string reason_;
};

}  // namespace helip
