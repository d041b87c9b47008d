// Compiled with -mavx2 -mfma -mpopcnt.
#include "kernel.h"

#if defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

#include "kernel_loops.h"

namespace helip::mining {
namespace {

struct Vector {
  static constexpr int kSize = 8;
  __m256 v;
  static Vector load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Vector broadcast(float x) { return {_mm256_set1_ps(x)}; }
  static Vector max(Vector a, Vector b) { return {_mm256_max_ps(a.v, b.v)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  Vector operator*(Vector b) const { return {_mm256_mul_ps(v, b.v)}; }
  std::uint32_t above(Vector b) const { return bits(_mm256_cmp_ps(v, b.v, _CMP_GT_OQ)); }
  std::uint32_t below(Vector b) const { return bits(_mm256_cmp_ps(v, b.v, _CMP_LT_OQ)); }
  std::uint32_t at_least(Vector b) const { return bits(_mm256_cmp_ps(v, b.v, _CMP_GE_OQ)); }
  static std::uint32_t bits(__m256 mask) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(mask));
  }
};

// 12 accumulators, two column vectors and two broadcasts: all 16 registers.
constexpr int kPartRows = 6;

void similarities_part(const float* rows, const float* columns, std::int64_t depth, float* tile) {
  __m256 sum[kPartRows][2];
#pragma GCC unroll 6
  for (int r = 0; r < kPartRows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_ps();
  for (std::int64_t k = 0; k < depth; ++k) {
    const __m256 left = _mm256_load_ps(columns);
    const __m256 right = _mm256_load_ps(columns + 8);
#pragma GCC unroll 6
    for (int r = 0; r < kPartRows; ++r) {
      const __m256 value = _mm256_set1_ps(rows[r]);
      sum[r][0] = _mm256_fmadd_ps(value, left, sum[r][0]);
      sum[r][1] = _mm256_fmadd_ps(value, right, sum[r][1]);
    }
    rows += kTileRows;
    columns += kTileColumns;
  }
#pragma GCC unroll 6
  for (int r = 0; r < kPartRows; ++r) {
    _mm256_store_ps(tile + r * kTileColumns, sum[r][0]);
    _mm256_store_ps(tile + r * kTileColumns + 8, sum[r][1]);
  }
}

void similarities(const float* rows, const float* columns, std::int64_t depth, float* tile) {
  for (int c = 0; c < kTileColumns; c += 16) {
    for (int r = 0; r < kTileRows; r += kPartRows) {
      similarities_part(rows + r, columns + c, depth, tile + r * kTileColumns + c);
    }
  }
}

constexpr Kernel kKernel = {"avx2",    similarities, screen<Vector>, dot_float, dot_double,
                            dot_short, widen,        scale,          interleave};

}  // namespace

const Kernel* kernel_avx2() {
  const bool usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("popcnt");
  return usable ? &kKernel : nullptr;
}

}  // namespace helip::mining

#else

namespace helip::mining {
const Kernel* kernel_avx2() { return nullptr; }
}  // namespace helip::mining

#endif
