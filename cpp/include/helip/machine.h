// What this process may use of the machine: in a container, or bound to some processors, less than
// all of it.
#pragma once

#include <cstdint>

#include "helip/export.h"

namespace helip {

struct Machine {
  int processors = 1;       // >= 1: of the affinity and of the processor time of control groups
  std::int64_t memory = 0;  // bytes: installed, and allowed by control groups; 0: unknown
};

// The machine of this process. Control groups are read once, the affinity each time.
HELIP_EXPORT Machine this_machine() noexcept;

}  // namespace helip
