// Hard pairs of consecutive rows, as they go from a miner to a table.
#pragma once

#include <cstdint>
#include <vector>

#include "helip/export.h"

namespace helip {

// Rows [first, first + counts.size()) of a table, as a miner hands them over.
struct HardPairBand {
  std::int64_t first = 0;
  std::int64_t k = 0;
  std::vector<std::int64_t> ids;     // [rows * k], -1 beyond counts[i]
  std::vector<float> scores;         // [rows * k], 0 beyond counts[i]
  std::vector<std::int32_t> counts;  // [rows], 0 .. k
};

// Receives bands in ascending, gap-free order of rows.
class HELIP_EXPORT HardPairSink {
 public:
  virtual ~HardPairSink();
  virtual void write(const HardPairBand& band) = 0;
};

}  // namespace helip
