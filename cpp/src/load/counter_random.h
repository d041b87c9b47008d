// The generator as the room of batches names it.
#pragma once

#include "random/counter_random.h"

namespace helip::load {

using random::CounterRandom;
using random::mix64;
using random::portable_log;

}  // namespace helip::load
