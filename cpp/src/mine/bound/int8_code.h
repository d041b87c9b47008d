// A vector in int8, x ~ scale · codes: how the filters' unit vectors and the graph's are stored.
#pragma once

#include <algorithm>
#include <cstdint>

#include "mine/kernel/kernel.h"

namespace helip::mining {

// Codes that a kernel gathers, padded with zeros.
constexpr std::int64_t padded_depth(std::int64_t dimensions) noexcept {
  return (dimensions + kCodeAlign - 1) / kCodeAlign * kCodeAlign;
}

struct Int8Code {
  float scale;
  float missed;      // |x − scale · codes|²
  std::int32_t sum;  // of the codes
};

// codes [depth]: those of x, which was spread evenly, see Kernel::spread().
inline Int8Code encode_int8(const float* x, std::int64_t depth, const Kernel& kernel,
                            std::int8_t* codes) {
  constexpr float kLeastScale = 1e-30F;
  const float scale = std::max(kernel.largest(x, depth) / 127.0F, kLeastScale);
  const float missed = kernel.round_codes(x, depth, scale, 127, codes);
  return {scale, missed, kernel.sum_codes(codes, depth)};
}

}  // namespace helip::mining
