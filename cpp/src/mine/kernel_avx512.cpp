// Compiled with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mpopcnt.
#include "kernel.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512BW__)

#include <immintrin.h>

#include "kernel_loops.h"

namespace helip::mining {
namespace {

struct Vector {
  static constexpr int kSize = 16;
  __m512 v;
  static Vector load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static Vector broadcast(float x) { return {_mm512_set1_ps(x)}; }
  static Vector max(Vector a, Vector b) { return {_mm512_max_ps(a.v, b.v)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  Vector operator*(Vector b) const { return {_mm512_mul_ps(v, b.v)}; }
  std::uint32_t above(Vector b) const { return _mm512_cmp_ps_mask(v, b.v, _CMP_GT_OQ); }
  std::uint32_t below(Vector b) const { return _mm512_cmp_ps_mask(v, b.v, _CMP_LT_OQ); }
  std::uint32_t at_least(Vector b) const { return _mm512_cmp_ps_mask(v, b.v, _CMP_GE_OQ); }
};

// 24 accumulators, two columns vectors and one broadcast: 27 of 32 registers.
void similarities(const float* rows, const float* columns, std::int64_t depth, float* tile) {
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

constexpr Kernel kKernel = {"avx512",  similarities, screen<Vector>, dot_float, dot_double,
                            dot_short, widen,        scale,          interleave};

}  // namespace

const Kernel* kernel_avx512() {
  const bool usable = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("popcnt");
  return usable ? &kKernel : nullptr;
}

}  // namespace helip::mining

#else

namespace helip::mining {
const Kernel* kernel_avx512() { return nullptr; }
}  // namespace helip::mining

#endif
