// What methods would cost on this machine.
#pragma once

#include <cstdint>

#include "filter.h"
#include "helip/mine.h"
#include "scorer.h"

namespace helip::mining {

// `options` validated; `method` automatic is decided here. Takes up to 0.1 s of one core.
MinePlan make_plan(const Corpus& corpus, const Filter& filter, const MineOptions& options);

// options.candidates, or its default.
std::int64_t sample_candidates(const MineOptions& options, std::int64_t rows) noexcept;

}  // namespace helip::mining
