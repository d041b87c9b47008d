// The limits behind helip/machine.h.
#pragma once

#include <cstdint>
#include <filesystem>

#include "helip/machine.h"

namespace helip {

// Reads the limits of control groups, version 1 and 2, from `root`/proc/self/cgroup and
// `root`/sys/fs/cgroup. A limit that cannot be read does not hold.
Machine read_machine(const std::filesystem::path& root);

std::int64_t memory_page_bytes() noexcept;

}  // namespace helip
