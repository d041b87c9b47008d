// What hard means at a place of the training: the window and the temperature of draws.
#pragma once

#include <cstdint>

#include "helip/batch_sampler.h"

namespace helip::load {

// What BatchOptions say, with rank_max = 0 read as k.
Hardness hardness_at_start(const BatchOptions& options, std::int64_t k) noexcept;
// Where its schedule ends.
Hardness hardness_at_end(const BatchOptions& options, std::int64_t k) noexcept;
// After `epochs` epochs of training, a whole number and a share. Ranks are rounded to the nearest;
// the window is never narrower than hard_per_target.
Hardness scheduled_hardness(const BatchOptions& options, std::int64_t k, double epochs) noexcept;

}  // namespace helip::load
