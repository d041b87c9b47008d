// Loops shared by the kernel sources. Each of those is compiled for its own instruction set, so
// everything here has internal linkage and no inline function of another header is called: the
// linker could otherwise keep a copy that the processor at hand cannot run.
#pragma once

#include <cstdint>

#include "mine/kernel/kernel.h"

// Wide vectors never cross a function that is not inlined, so their calling convention is moot.
#pragma GCC diagnostic ignored "-Wpsabi"
// A kernel takes what it needs of these.
#pragma GCC diagnostic ignored "-Wunused-function"

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
// are added (the sources are compiled with -ffp-contract=off), so every build agrees. Those of two
// float32 are exact in float64: there fused multiply-add gives the same bits.
inline double add_lanes(const Double8& sum) {
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

// VA and VB: eight elements of each side.
template <typename VA, typename VB, typename A, typename B>
inline double dot_lanes(const A* a, const B* b, std::int64_t n) {
  Double8 sum0 = {}, sum1 = {}, sum2 = {}, sum3 = {};
  std::int64_t k = 0;
  for (; k + 32 <= n; k += 32) {
    sum0 += widened(load<VA>(a + k)) * widened(load<VB>(b + k));
    sum1 += widened(load<VA>(a + k + 8)) * widened(load<VB>(b + k + 8));
    sum2 += widened(load<VA>(a + k + 16)) * widened(load<VB>(b + k + 16));
    sum3 += widened(load<VA>(a + k + 24)) * widened(load<VB>(b + k + 24));
  }
  double total = add_lanes((sum0 + sum1) + (sum2 + sum3));
  for (; k < n; ++k) total += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return total;
}

double dot_float(const float* a, const float* b, std::int64_t n) {
  return dot_lanes<Float8, Float8>(a, b, n);
}

double dot_mixed(const double* a, const float* b, std::int64_t n) {
  return dot_lanes<Double8, Float8>(a, b, n);
}

double dot_double(const double* a, const double* b, std::int64_t n) {
  return dot_lanes<Double8, Double8>(a, b, n);
}

// The bits of dot_float() and dot_mixed(), fused. W is a vector of W::kSize doubles: load of either
// type, +, multiply_add and store.
template <typename W, typename A>
double dot_fused(const A* a, const float* b, std::int64_t n) {
  constexpr int kSums = 32 / W::kSize;
  constexpr int kParts = 8 / W::kSize;
  W sum[kSums];
#pragma GCC unroll 8
  for (int i = 0; i < kSums; ++i) sum[i] = W::zero();
  std::int64_t k = 0;
  for (; k + 32 <= n; k += 32) {
#pragma GCC unroll 8
    for (int i = 0; i < kSums; ++i) {
      const std::int64_t at = k + W::kSize * i;
      sum[i] = W::multiply_add(W::load(a + at), W::load(b + at), sum[i]);
    }
  }
  alignas(64) double lanes[8];
#pragma GCC unroll 2
  for (int i = 0; i < kParts; ++i) {
    W::store(lanes + W::kSize * i,
             (sum[i] + sum[i + kParts]) + (sum[i + 2 * kParts] + sum[i + 3 * kParts]));
  }
  Double8 all;
  __builtin_memcpy(&all, lanes, sizeof all);
  double total = add_lanes(all);
  for (; k < n; ++k) total += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return total;
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

void scale(const float* in, std::int64_t n, double factor, float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = static_cast<float>(static_cast<double>(in[i]) * factor);
  }
}

// Sums in kSums lanes, so that they are vectors to the compiler.
constexpr int kSums = 32;

inline float add_all(const float (&sums)[kSums]) {
  float total = 0.0F;
  for (const float sum : sums) total += sum;
  return total;
}

float missed(const float* x, std::int64_t n, float scale, const std::int8_t* codes) {
  float sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int lane = 0; lane < kSums; ++lane) {
      const float rest = x[i + lane] - scale * static_cast<float>(codes[i + lane]);
      sums[lane] += rest * rest;
    }
  }
  float total = add_all(sums);
  for (; i < n; ++i) {
    const float rest = x[i] - scale * static_cast<float>(codes[i]);
    total += rest * rest;
  }
  return total;
}

float round_codes(const float* x, std::int64_t n, float scale, int largest, std::int8_t* codes) {
  const float factor = 1.0F / scale;
  const auto limit = static_cast<float>(largest);
  for (std::int64_t i = 0; i < n; ++i) {
    float value = x[i] * factor;
    value = value < limit ? value : limit;
    value = value > -limit ? value : -limit;
    codes[i] = static_cast<std::int8_t>(static_cast<int>(value + (value < 0.0F ? -0.5F : 0.5F)));
  }
  return missed(x, n, scale, codes);
}

std::int32_t sum_codes(const std::int8_t* codes, std::int64_t n) {
  std::int32_t sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += codes[i];
  return sum;
}

float largest(const float* x, std::int64_t n) {
  float most[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int lane = 0; lane < kSums; ++lane) {
      const float value = x[i + lane] < 0.0F ? -x[i + lane] : x[i + lane];
      most[lane] = most[lane] > value ? most[lane] : value;
    }
  }
  float all = 0.0F;
  for (const float one : most) all = all > one ? all : one;
  for (; i < n; ++i) {
    const float value = x[i] < 0.0F ? -x[i] : x[i];
    all = all > value ? all : value;
  }
  return all;
}

float squared_length(const float* x, std::int64_t n) {
  float sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int lane = 0; lane < kSums; ++lane) sums[lane] += x[i + lane] * x[i + lane];
  }
  float total = add_all(sums);
  for (; i < n; ++i) total += x[i] * x[i];
  return total;
}

void spread(float* x, std::int64_t n) {
  const std::int64_t step = n / 64;
  for (int i = 0; i < 64; ++i) {
    const bool negative = (static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15ULL >> 63) != 0;
    const float factor = negative ? -0.125F : 0.125F;
    for (std::int64_t k = 0; k < step; ++k) x[i * step + k] *= factor;
  }
  for (int half = 1; half < 64; half *= 2) {
    for (int i = 0; i < 64; i += 2 * half) {
      float* low = x + i * step;
      float* high = low + half * step;
      for (std::int64_t k = 0; k < half * step; ++k) {
        const float a = low[k], b = high[k];
        low[k] = a + b;
        high[k] = a - b;
      }
    }
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

// Rows are multiplied as unsigned bytes, code + offset, since that is what the instructions take;
// the corrections of the columns, -offset times the sum of their codes, make up for it.
template <int kOffset>
void pack_row_codes(const std::int8_t* const* codes, std::int64_t depth, std::uint8_t* panel) {
  for (int r = 0; r < kTileRows; ++r) {
    for (std::int64_t k = 0; k < depth; k += kCodeGroup) {
      std::uint32_t four;
      __builtin_memcpy(&four, codes[r] + k, 4);
      // Added to each byte on its own: the top bits apart, so that nothing is carried over.
      constexpr std::uint32_t kAdded = 0x01010101U * kOffset;
      four = ((four & 0x7f7f7f7fU) + (kAdded & 0x7f7f7f7fU)) ^ ((four ^ kAdded) & 0x80808080U);
      __builtin_memcpy(panel + k * kTileRows + r * kCodeGroup, &four, 4);
    }
  }
}

// kHalves: a lane is kept as two 16-bit sums, of the codes 0, 1 and 2, 3 of each group. These may
// wrap on the way: the true sum of a half fits by the limit of the chunk's norm.
template <int kOffset, bool kHalves>
void pack_column_codes(const std::int8_t* const* codes, std::int64_t depth, std::int8_t* panel) {
  for (std::int64_t begin = 0; begin < depth; begin += kCodeChunk) {
    const std::int64_t end = begin + kCodeChunk < depth ? begin + kCodeChunk : depth;
    std::int8_t* corrections = panel;
    panel += kTileColumns * 4;
    for (int c = 0; c < kTileColumns; ++c) {
      std::int32_t low = 0, high = 0;
      const std::int8_t* code = codes[c];
      for (std::int64_t k = begin; k < end; k += kCodeGroup) {
        __builtin_memcpy(panel + (k - begin) * kTileColumns + c * kCodeGroup, code + k, kCodeGroup);
        low += code[k] + code[k + 1];
        high += code[k + 2] + code[k + 3];
      }
      if constexpr (kHalves) {
        const std::uint32_t word = (static_cast<std::uint32_t>(-kOffset * low) & 0xffffU) |
                                   static_cast<std::uint32_t>(-kOffset * high) << 16;
        __builtin_memcpy(corrections + c * 4, &word, 4);
      } else {
        const std::int32_t word = -kOffset * (low + high);
        __builtin_memcpy(corrections + c * 4, &word, 4);
      }
    }
    panel += (end - begin) * kTileColumns;
  }
}

// The same, C::kLanes columns and as many groups of codes at a time. C is a vector of 32-bit lanes:
// load, store, transpose, add_pairs, which adds two neighbouring codes each to 16-bit sums, and
// corrections of such sums.
template <typename C, int kOffset, bool kHalves>
void pack_column_codes_by(const std::int8_t* const* codes, std::int64_t depth, std::int8_t* panel) {
  constexpr std::int64_t kStep = C::kLanes * kCodeGroup;
  if (depth % kStep != 0) return pack_column_codes<kOffset, kHalves>(codes, depth, panel);
  for (std::int64_t begin = 0; begin < depth; begin += kCodeChunk) {
    const std::int64_t end = begin + kCodeChunk < depth ? begin + kCodeChunk : depth;
    for (int first = 0; first < kTileColumns; first += C::kLanes) {
      std::int8_t* out = panel + kTileColumns * 4 + first * kCodeGroup;
      C sums = C::zero();  // of the codes 0, 1 and 2, 3 of each group
      for (std::int64_t k = begin; k < end; k += kStep) {
        C lines[C::kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < C::kLanes; ++i) lines[i] = C::load(codes[first + i] + k);
        C::transpose(lines);
#pragma GCC unroll 16
        for (int i = 0; i < C::kLanes; ++i) {
          C::store(out, lines[i]);
          out += kTileColumns * kCodeGroup;
          sums = C::add_pairs(sums, lines[i]);
        }
      }
      C::store(panel + first * 4, C::template corrections<kOffset, kHalves>(sums));
    }
    panel += kTileColumns * (4 + end - begin);
  }
}

// V is a vector of V::kSize floats: load, load_integers, broadcast, +, absolute, min, multiply_add
// and reaches, which gives one bit a lane.
template <typename V, bool kAbsolute>
inline void prefilter_rows(const Prefilter& job, std::uint32_t* hits) {
  for (int r = 0; r < kTileRows; ++r) {
    const V offset = V::broadcast(job.rows.offset[r]);
    const V tail = V::broadcast(job.rows.tail[r]);
    const V threshold = V::broadcast(job.rows.threshold[r]);
    std::uint32_t bits = 0;
    for (int c = 0; c < kTileColumns; c += V::kSize) {
      V product = V::load_integers(job.products + r * kTileColumns + c) +
                  (V::load(job.columns.offset + c) + offset);
      if (kAbsolute) product = V::absolute(product);
      const V bound = V::multiply_add(tail, V::load(job.columns.tail + c), product);
      bits |= V::reaches(bound, V::min(threshold, V::load(job.columns.threshold + c))) << c;
    }
    hits[r] = bits;
  }
}

template <typename V>
void prefilter(const Prefilter& job, std::uint32_t* hits) {
  if (job.absolute) {
    prefilter_rows<V, true>(job, hits);
  } else {
    prefilter_rows<V, false>(job, hits);
  }
}

// Columns i .. i + 3 and the four that come next, to be fetched meanwhile; the last one is taken
// for those beyond `count`.
struct FourColumns {
  const std::int8_t* now[4];
  const std::int8_t* later[4];

  FourColumns(const std::int8_t* const* columns, std::int64_t i, std::int64_t count) {
    for (int j = 0; j < 4; ++j) {
      now[j] = columns[i + j < count ? i + j : count - 1];
      later[j] = columns[i + j + 4 < count ? i + j + 4 : count - 1];
    }
  }
};

// A kernel's own functions, completed by the loops of this file.
template <typename V>
constexpr Kernel with_loops(Kernel kernel) {
  kernel.prefilter = prefilter<V>;
  kernel.round_codes = round_codes;
  kernel.missed = missed;
  kernel.sum_codes = sum_codes;
  kernel.largest = largest;
  kernel.squared_length = squared_length;
  kernel.spread = spread;
  kernel.scale = scale;
  kernel.interleave = interleave;
  return kernel;
}

}  // namespace
}  // namespace helip::mining
