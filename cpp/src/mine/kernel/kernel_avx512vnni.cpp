// Compiled with -mavx512vnni beside the options of kernel_avx512.cpp.
#include "mine/kernel/kernel.h"

#if defined(__AVX512VNNI__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && \
    defined(__AVX512BW__)

#include <immintrin.h>

#include "mine/kernel/kernel_avx512.h"

namespace helip::mining {
namespace {

constexpr int kOffset = 128;

// sum += unsigned bytes of `a` times signed bytes of `b`, four to a lane. By hand: GCC 12 copies
// the accumulators of the intrinsic to and fro.
inline void multiply_add(__m512i& sum, __m512i a, __m512i b) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

// 24 accumulators, two column vectors and one broadcast: 27 of 32 registers.
void code_products(const std::uint8_t* rows, const std::int8_t* columns, std::int64_t depth,
                   std::int32_t* tile) {
  __m512i sum[kTileRows][2];
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
  while (depth > 0) {
    const std::int64_t chunk = depth < kCodeChunk ? depth : kCodeChunk;
    const __m512i left_correction = _mm512_load_si512(columns);
    const __m512i right_correction = _mm512_load_si512(columns + 64);
#pragma GCC unroll 12
    for (int r = 0; r < kTileRows; ++r) {
      sum[r][0] = _mm512_add_epi32(sum[r][0], left_correction);
      sum[r][1] = _mm512_add_epi32(sum[r][1], right_correction);
    }
    columns += kTileColumns * 4;
    for (std::int64_t k = 0; k < chunk; k += kCodeGroup) {
      const __m512i left = _mm512_load_si512(columns);
      const __m512i right = _mm512_load_si512(columns + 64);
#pragma GCC unroll 12
      for (int r = 0; r < kTileRows; ++r) {
        std::int32_t four;
        __builtin_memcpy(&four, rows + r * kCodeGroup, 4);
        const __m512i row = _mm512_set1_epi32(four);
        multiply_add(sum[r][0], row, left);
        multiply_add(sum[r][1], row, right);
      }
      rows += kTileRows * kCodeGroup;
      columns += kTileColumns * kCodeGroup;
    }
    depth -= chunk;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) {
    _mm512_store_si512(tile + r * kTileColumns, sum[r][0]);
    _mm512_store_si512(tile + r * kTileColumns + 16, sum[r][1]);
  }
}

void gather_products(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                     std::int64_t depth, std::int32_t* out) {
  const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
  for (std::int64_t i = 0; i < count; i += 4) {
    const FourColumns column(columns, i, count);
    __m512i sum0 = _mm512_setzero_si512(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (std::int64_t k = 0; k < depth; k += 64) {
      const __m512i own = _mm512_xor_si512(_mm512_load_si512(row + k), flip);
      for (int j = 0; j < 4; ++j) {
        _mm_prefetch(reinterpret_cast<const char*>(column.later[j] + k), _MM_HINT_T0);
      }
      multiply_add(sum0, own, _mm512_load_si512(column.now[0] + k));
      multiply_add(sum1, own, _mm512_load_si512(column.now[1] + k));
      multiply_add(sum2, own, _mm512_load_si512(column.now[2] + k));
      multiply_add(sum3, own, _mm512_load_si512(column.now[3] + k));
    }
    std::int32_t sums[4];
    store_sums(sum0, sum1, sum2, sum3, sums);
    for (int j = 0; j < 4 && i + j < count; ++j) out[i + j] = sums[j];
  }
}

void gather_fine(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                 std::int64_t depth, std::int32_t* out) {
  const __m512i half = _mm512_set1_epi8(15);
  const std::int32_t correction = 8 * sum_codes(row, depth);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int8_t* later = columns[i + 1 < count ? i + 1 : i];
    __m512i low = _mm512_setzero_si512(), high = low;
    for (std::int64_t k = 0; k < depth; k += 128) {
      _mm_prefetch(reinterpret_cast<const char*>(later + k / 2), _MM_HINT_T0);
      const __m512i both = _mm512_load_si512(columns[i] + k / 2);
      multiply_add(low, _mm512_and_si512(both, half), _mm512_load_si512(row + k));
      multiply_add(high, _mm512_and_si512(_mm512_srli_epi16(both, 4), half),
                   _mm512_load_si512(row + k + 64));
    }
    out[i] = _mm512_reduce_add_epi32(_mm512_add_epi32(low, high)) - correction;
  }
}

constexpr Kernel kKernel = {
    "avx512vnni",
    {127, 0.0, kOffset},
    code_products,
    pack_row_codes<kOffset>,
    pack_column_codes_fast<kOffset, false>,
    sieve<Vector>,
    gather_products,
    gather_fine,
    round_codes,
    missed,
    sum_codes,
    largest,
    squared_length,
    spread,
    products,
    dot_float_fused,
    dot_mixed_fused,
    dot_double,
    dot_short,
    scale,
    interleave,
};

}  // namespace

const Kernel* kernel_avx512vnni() {
  const bool usable = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx2") &&
                      __builtin_cpu_supports("fma");
  return usable ? &kKernel : nullptr;
}

}  // namespace helip::mining

#else

namespace helip::mining {
const Kernel* kernel_avx512vnni() { return nullptr; }
}  // namespace helip::mining

#endif
