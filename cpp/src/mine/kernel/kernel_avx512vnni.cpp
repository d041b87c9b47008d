// Compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx2 -mfma.
#include "mine/kernel/kernel.h"

#if defined(__AVX512VNNI__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && \
    defined(__AVX512BW__)

#include <immintrin.h>

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

struct Wide {
  static constexpr int kSize = 8;
  __m512d v;
  static Wide zero() { return {_mm512_setzero_pd()}; }
  static Wide load(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
  static Wide load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static void store(double* p, Wide a) { _mm512_store_pd(p, a.v); }
  Wide operator+(Wide b) const { return {_mm512_add_pd(v, b.v)}; }
  static Wide multiply_add(Wide a, Wide b, Wide c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
};

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

// Sixteen groups of codes.
struct Groups {
  static constexpr int kLanes = 16;
  __m512i v;
  static Groups zero() { return {_mm512_setzero_si512()}; }
  static Groups load(const std::int8_t* p) { return {_mm512_loadu_si512(p)}; }
  static void store(std::int8_t* p, Groups a) { _mm512_storeu_si512(p, a.v); }
  static Groups add_pairs(Groups sums, Groups codes) {
    return {_mm512_add_epi16(sums.v, _mm512_maddubs_epi16(_mm512_set1_epi8(1), codes.v))};
  }
  template <int kOffset, bool kHalves>
  static Groups corrections(Groups sums) {
    static_assert(!kHalves);
    return {_mm512_mullo_epi32(_mm512_madd_epi16(sums.v, _mm512_set1_epi16(1)),
                               _mm512_set1_epi32(-kOffset))};
  }
  // Lane j of line i becomes lane i of line j.
  static void transpose(Groups (&lines)[16]) {
    __m512i rows[16], t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      t[i] = _mm512_unpacklo_epi32(lines[i].v, lines[i + 1].v);
      t[i + 1] = _mm512_unpackhi_epi32(lines[i].v, lines[i + 1].v);
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
      lines[j].v = _mm512_shuffle_i32x4(low01, low23, 0x88);
      lines[4 + j].v = _mm512_shuffle_i32x4(low01, low23, 0xdd);
      lines[8 + j].v = _mm512_shuffle_i32x4(high01, high23, 0x88);
      lines[12 + j].v = _mm512_shuffle_i32x4(high01, high23, 0xdd);
    }
  }
};

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

constexpr Kernel kKernel = with_loops<Vector>({
    .name = "avx512vnni",
    .limits = {127, 0.0, kOffset},
    .code_products = code_products,
    .pack_row_codes = pack_row_codes<kOffset>,
    .pack_column_codes = pack_column_codes_by<Groups, kOffset, false>,
    .gather_products = gather_products,
    .gather_fine = gather_fine,
    .products = products,
    .dot_float = dot_fused<Wide, float>,
    .dot_mixed = dot_fused<Wide, double>,
    .dot_double = dot_double,
    .dot_short = dot_short,
});

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
