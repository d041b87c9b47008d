// Compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma: processors with AVX-512
// but without its instructions for codes (VNNI). Their 16-bit products work as in kernel_avx2.cpp.
#include "mine/kernel/kernel.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512BW__)

#include <immintrin.h>

#include "mine/kernel/kernel_avx512.h"

namespace helip::mining {
namespace {

// Pairs of products are added in 16 bits without saturation: 2 · 180 · 90 < 2^15.
constexpr int kOffset = 90;

// 24 accumulators, two column vectors, a broadcast and a product: 28 of 32 registers.
void code_products(const std::uint8_t* rows, const std::int8_t* columns, std::int64_t depth,
                   std::int32_t* tile) {
  bool first = true;
  while (depth > 0) {
    const std::int64_t chunk = depth < kCodeChunk ? depth : kCodeChunk;
    __m512i sum[kTileRows][2];
#pragma GCC unroll 12
    for (int r = 0; r < kTileRows; ++r) {
      sum[r][0] = _mm512_load_si512(columns);
      sum[r][1] = _mm512_load_si512(columns + 64);
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
        sum[r][0] = _mm512_add_epi16(sum[r][0], _mm512_maddubs_epi16(row, left));
        sum[r][1] = _mm512_add_epi16(sum[r][1], _mm512_maddubs_epi16(row, right));
      }
      rows += kTileRows * kCodeGroup;
      columns += kTileColumns * kCodeGroup;
    }
#pragma GCC unroll 12
    for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 2
      for (int c = 0; c < 2; ++c) {
        std::int32_t* out = tile + r * kTileColumns + c * 16;
        __m512i wide = _mm512_madd_epi16(sum[r][c], _mm512_set1_epi16(1));
        if (!first) wide = _mm512_add_epi32(wide, _mm512_load_si512(out));
        _mm512_store_si512(out, wide);
      }
    }
    first = false;
    depth -= chunk;
  }
}

// The sign of the row's code moves to the column's, for the instruction wants one side unsigned:
// two products of at most 127 · 127 fit into 16 bits. What comes next is fetched meanwhile.
void gather_products(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                     std::int64_t depth, std::int32_t* out) {
  const __m512i ones = _mm512_set1_epi16(1);
  for (std::int64_t i = 0; i < count; i += 4) {
    const FourColumns column(columns, i, count);
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                      _mm512_setzero_si512()};
    for (std::int64_t k = 0; k < depth; k += 64) {
      const __m512i own = _mm512_load_si512(row + k);
      const __m512i absolute = _mm512_abs_epi8(own);
      const __mmask64 negative = _mm512_movepi8_mask(own);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        _mm_prefetch(reinterpret_cast<const char*>(column.later[j] + k), _MM_HINT_T0);
        const __m512i other = _mm512_load_si512(column.now[j] + k);
        const __m512i products = _mm512_maddubs_epi16(
            absolute, _mm512_mask_sub_epi8(other, negative, _mm512_setzero_si512(), other));
        sum[j] = _mm512_add_epi32(sum[j], _mm512_madd_epi16(products, ones));
      }
    }
    std::int32_t sums[4];
    store_sums(sum[0], sum[1], sum[2], sum[3], sums);
    for (int j = 0; j < 4 && i + j < count; ++j) out[i + j] = sums[j];
  }
}

void gather_fine(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                 std::int64_t depth, std::int32_t* out) {
  const __m512i half = _mm512_set1_epi8(15);
  const __m512i ones = _mm512_set1_epi16(1);
  const std::int32_t correction = 8 * sum_codes(row, depth);
  for (std::int64_t i = 0; i < count; ++i) {
    __m512i sum = _mm512_setzero_si512();
    for (std::int64_t k = 0; k < depth; k += 128) {
      const __m512i both = _mm512_load_si512(columns[i] + k / 2);
      // At most 4 · 15 · 127 in 16 bits.
      const __m512i products = _mm512_add_epi16(
          _mm512_maddubs_epi16(_mm512_and_si512(both, half), _mm512_load_si512(row + k)),
          _mm512_maddubs_epi16(_mm512_and_si512(_mm512_srli_epi16(both, 4), half),
                               _mm512_load_si512(row + k + 64)));
      sum = _mm512_add_epi32(sum, _mm512_madd_epi16(products, ones));
    }
    out[i] = _mm512_reduce_add_epi32(sum) - correction;
  }
}

constexpr Kernel kKernel = {
    "avx512",
    {kOffset, 181.0, 0},
    code_products,
    pack_row_codes<kOffset>,
    pack_column_codes_fast<kOffset, true>,
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

const Kernel* kernel_avx512() {
  const bool usable = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return usable ? &kKernel : nullptr;
}

}  // namespace helip::mining

#else

namespace helip::mining {
const Kernel* kernel_avx512() { return nullptr; }
}  // namespace helip::mining

#endif
