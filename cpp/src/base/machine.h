// What this process may use of the machine: in a container, or bound to some processors, less than
// all of it.
#pragma once

#include <cstdint>
#include <filesystem>

namespace helip {

struct Machine {
  int processors = 1;       // >= 1: of the affinity and of the processor time of control groups
  std::int64_t memory = 0;  // bytes: installed, and allowed by control groups; 0: unknown
};

// Reads the limits of control groups, version 1 and 2, from `root`/proc/self/cgroup and
// `root`/sys/fs/cgroup. A limit that cannot be read does not hold.
Machine read_machine(const std::filesystem::path& root);

// The machine of this process. Control groups are read once, the affinity each time.
Machine this_machine() noexcept;

}  // namespace helip
