// Float32 bounds of float64 values.
#pragma once

#include <cmath>
#include <limits>

namespace helip::mining {

// The greatest float32 that is no more than the value.
inline float rounded_down(double value) noexcept {
  const auto rounded = static_cast<float>(value);
  return static_cast<double>(rounded) > value
             ? std::nextafter(rounded, -std::numeric_limits<float>::infinity())
             : rounded;
}

// The least that is no less.
inline float rounded_up(double value) noexcept { return -rounded_down(-value); }

}  // namespace helip::mining
