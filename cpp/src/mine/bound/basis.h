// A few directions that hold most of the length of the rows.
#pragma once

#include <cstdint>
#include <vector>

#include "base/team.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

// V, `count` rows that are orthonormal but for rounding. What bounds need of it is only that no
// eigenvalue of V·Vᵀ exceeds 1 + excess, which is measured, not assumed.
struct Basis {
  std::int64_t count = 0;
  std::int64_t dimensions = 0;
  std::vector<float> vectors;  // [count, dimensions]
  double excess = 0.0;
};

// The leading principal directions (about the origin, not the mean: products are what counts) of
// `sample` [rows, dimensions], the first ones first, by orthogonal iteration. `count` is at most
// both. Directions that the sample does not have are zero. The same for any number of threads.
Basis principal_basis(const float* sample, std::int64_t rows, std::int64_t dimensions,
                      std::int64_t count, const Kernel& kernel, Team& team);

// Sets `excess`, once nothing changes any more.
void measure_excess(Basis& basis, const Kernel& kernel, Team& team);

}  // namespace helip::mining
