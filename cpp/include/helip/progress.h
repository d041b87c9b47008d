// How a long job tells its caller where it is, and learns that it should stop.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace helip {

struct Progress {
  std::string stage;       // "mine", "verify", ...
  std::int64_t done = 0;   // units of work finished
  std::int64_t total = 0;  // units of work in this stage
};

// Called on the calling thread only, a few times a second. Return false to stop: the job then
// throws Error(cancelled) after its threads have ended. An empty function never stops.
using ProgressCallback = std::function<bool(const Progress&)>;

}  // namespace helip
