// Bounds of BatchOptions that hold for every strategy.
#pragma once

#include "helip/batch_sampler.h"
#include "load/pair_source.h"

namespace helip::load {

// `options` with the strategy that automatic stands for. Throws invalid_argument; a strategy checks
// the options that are its own.
BatchOptions checked(BatchOptions options, const PairSource& pairs);

}  // namespace helip::load
