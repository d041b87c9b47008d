// What hard means at a place of the training: the window, the temperature of draws, and the share
// of targets that get hard pairs.
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
// The window that a target must have hard pairs in to be one in every epoch.
Hardness deepest_hardness(const BatchOptions& options, std::int64_t k) noexcept;

bool has_schedule(const BatchOptions& options) noexcept;
// Throws Error(invalid_argument) for a schedule that ends outside of its bounds or changes nothing.
void check_schedule(const BatchOptions& options, std::int64_t k);

}  // namespace helip::load
