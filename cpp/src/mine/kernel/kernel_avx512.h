// What both AVX-512 kernels share. Included by their sources only, see kernel_loops.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "mine/kernel/kernel.h"
#include "mine/kernel/kernel_loops.h"

namespace helip::mining {
namespace {

struct Vector {
  static constexpr int kSize = 16;
  __m512 v;
  static Vector load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vector load_integers(const std::int32_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_loadu_si512(p))};
  }
  static Vector broadcast(float x) { return {_mm512_set1_ps(x)}; }
  Vector operator+(Vector b) const { return {_mm512_add_ps(v, b.v)}; }
  static Vector absolute(Vector a) { return {_mm512_abs_ps(a.v)}; }
  static Vector min(Vector a, Vector b) { return {_mm512_min_ps(a.v, b.v)}; }
  static Vector multiply_add(Vector a, Vector b, Vector c) {
    return {_mm512_fmadd_ps(a.v, b.v, c.v)};
  }
  static std::uint32_t reaches(Vector a, Vector b) {
    return _mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ);
  }
};

// 24 accumulators, two columns vectors and one broadcast: 27 of 32 registers.
void products(const float* rows, const float* columns, std::int64_t depth, float* tile) {
  __m512 sum[kTileRows][2];
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < depth; ++k) {
    const __m512 left = _mm512_load_ps(columns);
    const __m512 right = _mm512_load_ps(columns + 16);
    _mm_prefetch(reinterpret_cast<const char*>(columns + 16 * kTileColumns), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(columns + 16 * kTileColumns + 16), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(rows + 16 * kTileRows), _MM_HINT_T0);
#pragma GCC unroll 12
    for (int r = 0; r < kTileRows; ++r) {
      const __m512 value = _mm512_set1_ps(rows[r]);
      sum[r][0] = _mm512_fmadd_ps(value, left, sum[r][0]);
      sum[r][1] = _mm512_fmadd_ps(value, right, sum[r][1]);
    }
    rows += kTileRows;
    columns += kTileColumns;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) {
    _mm512_store_ps(tile + r * kTileColumns, sum[r][0]);
    _mm512_store_ps(tile + r * kTileColumns + 16, sum[r][1]);
  }
}

double dot_float_fused(const float* a, const float* b, std::int64_t n) {
  const auto wide = [](const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); };
  __m512d sum0 = _mm512_setzero_pd(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  std::int64_t k = 0;
  for (; k + 32 <= n; k += 32) {
    sum0 = _mm512_fmadd_pd(wide(a + k), wide(b + k), sum0);
    sum1 = _mm512_fmadd_pd(wide(a + k + 8), wide(b + k + 8), sum1);
    sum2 = _mm512_fmadd_pd(wide(a + k + 16), wide(b + k + 16), sum2);
    sum3 = _mm512_fmadd_pd(wide(a + k + 24), wide(b + k + 24), sum3);
  }
  sum0 = _mm512_add_pd(_mm512_add_pd(sum0, sum1), _mm512_add_pd(sum2, sum3));
  double total = add_lanes(Double8(sum0));
  for (; k < n; ++k) total += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return total;
}

double dot_mixed_fused(const double* a, const float* b, std::int64_t n) {
  const auto wide = [](const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); };
  __m512d sum0 = _mm512_setzero_pd(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  std::int64_t k = 0;
  for (; k + 32 <= n; k += 32) {
    sum0 = _mm512_fmadd_pd(_mm512_loadu_pd(a + k), wide(b + k), sum0);
    sum1 = _mm512_fmadd_pd(_mm512_loadu_pd(a + k + 8), wide(b + k + 8), sum1);
    sum2 = _mm512_fmadd_pd(_mm512_loadu_pd(a + k + 16), wide(b + k + 16), sum2);
    sum3 = _mm512_fmadd_pd(_mm512_loadu_pd(a + k + 24), wide(b + k + 24), sum3);
  }
  sum0 = _mm512_add_pd(_mm512_add_pd(sum0, sum1), _mm512_add_pd(sum2, sum3));
  double total = add_lanes(Double8(sum0));
  for (; k < n; ++k) total += a[k] * static_cast<double>(b[k]);
  return total;
}

// out[0 .. 3] = sum of the lanes of each.
inline void store_sums(__m512i a, __m512i b, __m512i c, __m512i d, std::int32_t* out) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  const __m512i all =
      _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
  const __m256i half =
      _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                   _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1)));
}

// rows[i] holds 16 words of column i; afterwards rows[k] holds word k of all columns.
inline void transpose(__m512i (&rows)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Lane l of rows[4 g + j] now has word 4 l + j of the columns 4 g .. 4 g + 3.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i low01 = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0x44);
    const __m512i high01 = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0xee);
    const __m512i low23 = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0x44);
    const __m512i high23 = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0xee);
    t[j] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    t[8 + j] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) rows[i] = t[i];
}

// As pack_column_codes(), 16 columns and 64 depths at a time.
template <int kOffset, bool kHalves>
void pack_column_codes_fast(const std::int8_t* const* codes, std::int64_t depth,
                            std::int8_t* panel) {
  if (depth % 64 != 0) return pack_column_codes<kOffset, kHalves>(codes, depth, panel);
  const __m512i ones = _mm512_set1_epi8(1);
  for (std::int64_t begin = 0; begin < depth; begin += kCodeChunk) {
    const std::int64_t end = begin + kCodeChunk < depth ? begin + kCodeChunk : depth;
    for (int first = 0; first < kTileColumns; first += 16) {
      std::int8_t* out = panel + kTileColumns * 4 + first * kCodeGroup;
      // Sums of the codes 0, 1 and 2, 3 of each group, 16 bits each.
      __m512i sums = _mm512_setzero_si512();
      for (std::int64_t k = begin; k < end; k += 64) {
        __m512i lines[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) lines[i] = _mm512_loadu_si512(codes[first + i] + k);
        transpose(lines);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          _mm512_storeu_si512(out, lines[i]);
          out += kTileColumns * kCodeGroup;
          sums = _mm512_add_epi16(sums, _mm512_maddubs_epi16(ones, lines[i]));
        }
      }
      const __m512i corrections =
          kHalves ? _mm512_mullo_epi16(sums, _mm512_set1_epi16(-kOffset))
                  : _mm512_mullo_epi32(_mm512_madd_epi16(sums, _mm512_set1_epi16(1)),
                                       _mm512_set1_epi32(-kOffset));
      _mm512_storeu_si512(panel + first * 4, corrections);
    }
    panel += kTileColumns * (4 + end - begin);
  }
}

}  // namespace
}  // namespace helip::mining
