// Bands of a small table of hard pairs, and parts of it.
#pragma once

#include <cstdint>

#include "helip/hard_pairs.h"

namespace helip {

inline constexpr std::int64_t kRows = 10;

// Pools of the targets of a band: the next two rows.
inline HardPairBand band_of(std::int64_t first, std::int64_t rows) {
  HardPairBand band;
  band.first = first;
  band.k = 2;
  for (std::int64_t i = first; i < first + rows; ++i) {
    band.ids.insert(band.ids.end(), {(i + 1) % kRows, (i + 2) % kRows});
    band.scores.insert(band.scores.end(), {.5F, .25F});
    band.counts.push_back(2);
  }
  return band;
}

inline const HardPairs::Origin kOrigin{"f", "kf", R"({"k":2})", R"({"pairs":30})"};

}  // namespace helip
