// Exact pools of a few targets: to measure recall by, and for those who ask for them alone.
#pragma once

#include <cstdint>
#include <vector>

#include "helip/hard_pairs.h"
#include "mine/method/method.h"

namespace helip::mining {

// Of a list of targets against the whole corpus, in the order of the list. Adds targets.size() *
// corpus.size() to the team's work.
HardPairBand exact_pools(MethodContext& context, const std::vector<std::int64_t>& targets);

}  // namespace helip::mining
