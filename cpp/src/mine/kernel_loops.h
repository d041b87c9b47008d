// Loops shared by the kernel sources. Each of those is compiled for its own instruction set, so
// everything here has internal linkage and no inline function of another header is called: the
// linker could otherwise keep a copy that the processor at hand cannot run.
#pragma once

#include <cstdint>

#include "kernel.h"

// Wide vectors never cross a function that is not inlined, so their calling convention is moot.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace helip::mining {
namespace {

typedef float Float8 __attribute__((vector_size(32)));
typedef float Float16 __attribute__((vector_size(64)));
typedef double Double8 __attribute__((vector_size(64)));

inline Double8 widened(const Float8& x) { return __builtin_convertvector(x, Double8); }
inline Double8 widened(const Double8& x) { return x; }

template <typename V, typename T>
inline V load(const T* p) {
  V v;  // rows have the alignment of their elements
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}

// Element k goes to lane k mod 32; the lanes are added in pairs. Products are rounded before they
// are added (the sources are compiled with -ffp-contract=off), so every build agrees.
template <typename V, typename T>
inline double dot_lanes(const double* a, const T* b, std::int64_t n) {
  Double8 sum0 = {}, sum1 = {}, sum2 = {}, sum3 = {};
  std::int64_t k = 0;
  for (; k + 32 <= n; k += 32) {
    sum0 += load<Double8>(a + k) * widened(load<V>(b + k));
    sum1 += load<Double8>(a + k + 8) * widened(load<V>(b + k + 8));
    sum2 += load<Double8>(a + k + 16) * widened(load<V>(b + k + 16));
    sum3 += load<Double8>(a + k + 24) * widened(load<V>(b + k + 24));
  }
  sum0 = (sum0 + sum1) + (sum2 + sum3);
  double total =
      ((sum0[0] + sum0[1]) + (sum0[2] + sum0[3])) + ((sum0[4] + sum0[5]) + (sum0[6] + sum0[7]));
  for (; k < n; ++k) total += a[k] * static_cast<double>(b[k]);
  return total;
}

double dot_float(const double* a, const float* b, std::int64_t n) {
  return dot_lanes<Float8, float>(a, b, n);
}

double dot_double(const double* a, const double* b, std::int64_t n) {
  return dot_lanes<Double8, double>(a, b, n);
}

float dot_short(const float* a, const float* b, std::int64_t n) {
  Float16 sum0 = {}, sum1 = {}, sum2 = {}, sum3 = {};
  std::int64_t k = 0;
  for (; k + 64 <= n; k += 64) {
    sum0 += load<Float16>(a + k) * load<Float16>(b + k);
    sum1 += load<Float16>(a + k + 16) * load<Float16>(b + k + 16);
    sum2 += load<Float16>(a + k + 32) * load<Float16>(b + k + 32);
    sum3 += load<Float16>(a + k + 48) * load<Float16>(b + k + 48);
  }
  sum0 = (sum0 + sum1) + (sum2 + sum3);
  float total = 0;
  for (int lane = 0; lane < 16; ++lane) total += sum0[lane];
  for (; k < n; ++k) total += a[k] * b[k];
  return total;
}

void widen(const float* in, std::int64_t n, double* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<double>(in[i]);
}

void scale(const float* in, std::int64_t n, double factor, float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(static_cast<double>(in[i]) * factor);
  }
}

template <int kLanes>
inline void interleave_lanes(const float* in, std::int64_t n, float* out) {
  // Sixteen depths at a time: a cache line of each row is used up while it is in L1.
  std::int64_t k = 0;
  for (; k + 16 <= n; k += 16) {
    for (int r = 0; r < kLanes; r += 4) {
      const float* source = in + r * n + k;
      float* target = out + k * kLanes + r;
      for (int step = 0; step < 16; ++step) {
        const float x0 = source[step], x1 = source[n + step];
        const float x2 = source[2 * n + step], x3 = source[3 * n + step];
        target[step * kLanes] = x0;
        target[step * kLanes + 1] = x1;
        target[step * kLanes + 2] = x2;
        target[step * kLanes + 3] = x3;
      }
    }
  }
  for (; k < n; ++k) {
    for (int r = 0; r < kLanes; ++r) out[k * kLanes + r] = in[r * n + k];
  }
}

void interleave(const float* in, std::int64_t n, int lanes, float* out) {
  if (lanes == kTileRows) {
    interleave_lanes<kTileRows>(in, n, out);
  } else {
    interleave_lanes<kTileColumns>(in, n, out);
  }
}

// V is a vector of V::kSize floats: load, broadcast, store, *, max and the comparisons above,
// below and at_least, which give one bit a lane.
template <typename V>
ScreenHits screen(const ScreenRow& row, const ScreenLimits& limits, float* score,
                  DropCounts& counts) {
  const V zero = V::broadcast(0.0F);
  std::uint32_t image_duplicate = 0, text_duplicate = 0, positive = 0, enough = 0;
  std::uint32_t dropped = 0, doubt = 0, row_hits = 0, column_hits = 0;
  for (int c = 0; c < kTileColumns; c += V::kSize) {
    const V image = V::load(row.image + c);
    const V text = V::load(row.text + c);
    const V product =
        limits.signed_products ? image * text : V::max(image, zero) * V::max(text, zero);
    product.store(score + c);
    const auto put = [c](std::uint32_t bits) { return bits << c; };
    image_duplicate |= put(image.above(V::broadcast(limits.image_max)));
    text_duplicate |= put(text.above(V::broadcast(limits.text_max)));
    positive |= put(product.above(zero));
    enough |= put(product.above(V::broadcast(limits.min_score)));
    dropped |= put(image.above(V::broadcast(limits.image_certain)) |
                   text.above(V::broadcast(limits.text_certain)) |
                   image.below(V::broadcast(limits.image_floor)) |
                   text.below(V::broadcast(limits.text_floor)));
    doubt |= put(image.at_least(V::broadcast(limits.image_doubt)) |
                 text.at_least(V::broadcast(limits.text_doubt)));
    row_hits |= put(product.at_least(V::broadcast(row.row_threshold)));
    column_hits |= put(product.at_least(V::load(row.column_threshold + c)));
  }
  const std::uint32_t valid = row.valid;
  const std::uint32_t unique = valid & ~image_duplicate & ~text_duplicate;
  counts.scored += __builtin_popcount(valid);
  counts.image_duplicate += __builtin_popcount(valid & image_duplicate);
  counts.text_duplicate += __builtin_popcount(valid & ~image_duplicate & text_duplicate);
  counts.nonpositive += __builtin_popcount(unique & ~positive);
  counts.below_min_score += __builtin_popcount(unique & positive & ~enough);
  const std::uint32_t kept = valid & ~dropped;
  return {row_hits & kept, column_hits & kept, doubt & (row_hits | column_hits) & kept};
}

}  // namespace
}  // namespace helip::mining
