// How fast this machine is at what mining does, from a short measurement.
#pragma once

#include "mine/corpus/corpus.h"

namespace helip::mining {

inline constexpr double kMemoryRate =
    10e9;  // bytes a second and thread, of rows that are scattered

// Seconds that one thread takes.
struct Rates {
  double cycle;  // of the processor
  double codes;  // 64 products of int8 codes, the unit of FilterPlan::cycles
  double exact;  // float64 score
};

Rates measure_rates(const Corpus& corpus);

}  // namespace helip::mining
