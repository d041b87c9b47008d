// Where along one side of an image each pixel of the result looks, and with which weights.
#pragma once

#include <cstdint>
#include <vector>

#include "helip/image_transform.h"
#include "image/decode/image.h"

namespace helip::image {

// Result pixel o, 0 .. count - 1, has its centre at start + (o + 0.5) * step in the source, where
// source pixel i covers i .. i + 1. Only source between low and high is used. step < 0 mirrors.
struct Axis {
  double start = 0.0;
  double step = 1.0;
  double low = 0.0;
  double high = 0.0;
  int64_t count = 0;
};

// `count` pixels out of source low .. high.
Axis axis_over(int64_t low, int64_t high, int64_t count) noexcept;

Axis mirrored(const Axis& axis) noexcept;                     // the results in reverse
Axis from_the_end(const Axis& axis, double length) noexcept;  // the source in reverse
Axis scaled(const Axis& axis, double factor) noexcept;        // the source resized
// The source cut to `length` pixels from `first` on.
Axis seen_through(const Axis& axis, int64_t first, int64_t length) noexcept;

// Pixels first .. last - 1 of the source that an axis looks at.
struct Extent {
  int64_t first = 0;
  int64_t last = 0;
};
Extent extent_of(const Axis& axis, Interpolation interpolation) noexcept;

// Weights as integers: result o is the sum of source[first[o] + i] * weights[o * stride + i] over
// i < stride, divided by 2^precision[o]. They sum to 2^precision[o] exactly, so one colour stays
// itself. Those at `taps` and after are 0.
struct AxisWeights {
  int64_t count = 0;
  int64_t taps = 0;
  int64_t stride = 0;                   // taps to the next multiple of 4
  std::vector<std::int32_t> first;      // [count]
  std::vector<std::int32_t> precision;  // [count]
  std::vector<std::int16_t> weights;    // [count, stride]
};

// The filters and their supports are Pillow's (Resample.c); the memory of `out` and `draft` is
// kept.
void make_weights(const Axis& axis, Interpolation interpolation, AxisWeights& out,
                  std::vector<double>& draft);

}  // namespace helip::image
