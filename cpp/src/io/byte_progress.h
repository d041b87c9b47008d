// Tells a caller how many bytes a job has gone through, and stops it when asked to.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/refuse.h"
#include "helip/progress.h"

namespace helip {

class ByteProgress {
 public:
  ByteProgress(std::string stage, std::int64_t total, const ProgressCallback& callback)
      : state_{std::move(stage), 0, total}, callback_(callback) {}

  // Throws Error(cancelled).
  void advance(std::int64_t bytes) {
    state_.done += bytes;
    if (!callback_ || callback_(state_)) return;
    fail(ErrorCode::cancelled, "stopped in stage '", state_.stage, "' after ", state_.done, " of ",
         state_.total, " bytes");
  }

 private:
  Progress state_;
  const ProgressCallback& callback_;
};

}  // namespace helip
