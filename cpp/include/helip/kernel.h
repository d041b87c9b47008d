// The inner loops of mining, one build for each instruction set. Tables of exact mining have the
// same bytes whichever runs.
#pragma once

#include <string>
#include <vector>

#include "helip/export.h"

namespace helip {

// Those that this build has and this processor can run, the fastest first: of "avx512vnni",
// "avx2", "neon" and "portable".
[[nodiscard]] HELIP_EXPORT std::vector<std::string> kernel_names();
// The one that mining runs on: the fastest, or the one that the environment variable HELIP_KERNEL
// named when a kernel was first asked for. Throws Error: invalid_argument (HELIP_KERNEL holds
// another name), unsupported (it cannot run here).
[[nodiscard]] HELIP_EXPORT std::string kernel_name();
// Has mining run on this one from now on, in the whole process; an empty name: on the one that
// HELIP_KERNEL names, or the fastest. Jobs that have begun keep theirs. Thread-safe. Throws as
// kernel_name() does.
HELIP_EXPORT void set_kernel(const std::string& name);

}  // namespace helip
