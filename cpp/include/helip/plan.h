// What a mining job would cost; plan() in helip/mine.h estimates it.
#pragma once

#include <cstdint>
#include <string>

#include "helip/mine_options.h"

namespace helip {

// What a job would cost on this machine, estimated from a short measurement of its speed.
struct MinePlan {
  MiningMethod method = MiningMethod::exact;  // never automatic
  std::string reason;                         // why this method
  std::string filters;  // exact: what pairs go through before they are scored, JSON
  double seconds = 0;
  std::int64_t memory_bytes = 0;   // buffers beyond the input
  std::int64_t disk_bytes = 0;     // the saved table
  std::int64_t pairs = 0;          // ordered pairs that will be scored
  std::int64_t scratch_bytes = 0;  // on disk while it runs, where memory= is too small
  std::int64_t bands = 0;          // blocks of targets kept in memory one after another
};

}  // namespace helip
