// Rows drawn without replacement, the same for the same (seed, stream) everywhere.
#pragma once

#include <cstdint>
#include <vector>

namespace helip::mining {

// `count` of the rows 0 .. rows - 1, each subset equally likely, in ascending order. `stream`
// tells apart the draws of one seed. Time in proportion to `rows` (selection sampling: Knuth, The
// Art of Computer Programming, volume 2, 3.4.2, algorithm S).
std::vector<std::uint32_t> draw_rows(std::int64_t rows, std::int64_t count, std::uint64_t seed,
                                     std::uint64_t stream);

}  // namespace helip::mining
