// Checks of what an index of pairs is given.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "helip/matrix.h"
#include "helip/mine_options.h"
#include "helip/pair_index.h"

namespace helip::mining {

inline constexpr std::int64_t kLeastDegree = 4;
inline constexpr std::int64_t kMostDegree = 1024;
inline constexpr std::int64_t kMostBreadth = 65536;
inline constexpr std::int64_t kMostId = std::numeric_limits<std::int64_t>::max() - 1;  // has a next

// Each throws invalid_argument.
void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most);
void check_index_options(const PairIndexOptions& options);
// The options by which the matrices are read: thresholds, shapes, dtypes and threads are checked as
// those of mining are.
MineOptions checked_matrices(const MatrixView& image, const MatrixView& text,
                             const PairIndexOptions& options, int threads);
void check_dimensions(const char* name, std::int64_t given, std::int64_t wanted);
// `ids`, or numbers from `first` on; refused where one is none of 0 .. kMostId, or there twice.
std::vector<std::int64_t> checked_ids(const std::vector<std::int64_t>& ids, std::int64_t rows,
                                      std::int64_t first);

// Whether they are within the bounds, as those of a saved index must be.
bool are_sound(const PairIndexOptions& options) noexcept;

}  // namespace helip::mining
