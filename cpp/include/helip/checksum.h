// Checksums of files that are read in pieces: detection of damage, not of malice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "helip/export.h"

namespace helip {

// XXH3-64 of each `block` bytes from the first on, the last one may be shorter; none of no bytes.
// Throws Error(invalid_argument): block is 0.
[[nodiscard]] HELIP_EXPORT std::vector<std::uint64_t> block_checksums(const void* data,
                                                                      std::size_t bytes,
                                                                      std::size_t block);

}  // namespace helip
