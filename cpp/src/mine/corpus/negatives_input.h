// What mining of queries begins with: the checks of what is asked.
#pragma once

#include "helip/mine_options.h"
#include "helip/negatives_input.h"

namespace helip::mining {

// Checks every option, that the matrices fit them and each other, and that positives are rows of
// the corpus. Throws Error: invalid_argument, unsupported (a method that mines pairs alone).
void validate(const NegativesInput& input, const MineOptions& options);

}  // namespace helip::mining
