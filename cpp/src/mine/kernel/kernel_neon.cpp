// Compiled with -march=armv8.2-a+dotprod.
#include "mine/kernel/kernel.h"

#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)

#include <arm_neon.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "mine/kernel/kernel_loops.h"

namespace helip::mining {
namespace {

struct Vector {
  static constexpr int kSize = 4;
  float32x4_t v;
  static Vector load(const float* p) { return {vld1q_f32(p)}; }
  static Vector load_integers(const std::int32_t* p) { return {vcvtq_f32_s32(vld1q_s32(p))}; }
  static Vector broadcast(float x) { return {vdupq_n_f32(x)}; }
  Vector operator+(Vector b) const { return {vaddq_f32(v, b.v)}; }
  static Vector absolute(Vector a) { return {vabsq_f32(a.v)}; }
  static Vector min(Vector a, Vector b) { return {vminq_f32(a.v, b.v)}; }
  static Vector multiply_add(Vector a, Vector b, Vector c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
  static std::uint32_t reaches(Vector a, Vector b) {
    constexpr uint32x4_t kBits = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgeq_f32(a.v, b.v), kBits));
  }
};

// sum += columns * lane kLane of the rows; a lane of codes is a group of four.
template <int kLane>
inline void multiply_add(float32x4_t& sum, float32x4_t columns, float32x4_t rows) {
  sum = vfmaq_laneq_f32(sum, columns, rows, kLane);
}
template <int kLane>
inline void multiply_add(int32x4_t& sum, int8x16_t columns, int8x16_t rows) {
  sum = vdotq_laneq_s32(sum, columns, rows, kLane);
}

// All rows of a tile times eight columns: 24 accumulators, three vectors of rows and two of
// columns, 29 of 32 registers.
constexpr int kPartColumns = 8;

template <typename Sum, typename V>
inline void multiply_add_part(Sum (&sum)[kTileRows][2], const V (&rows)[3], V left, V right) {
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    multiply_add<0>(sum[4 * i][0], left, rows[i]);
    multiply_add<0>(sum[4 * i][1], right, rows[i]);
    multiply_add<1>(sum[4 * i + 1][0], left, rows[i]);
    multiply_add<1>(sum[4 * i + 1][1], right, rows[i]);
    multiply_add<2>(sum[4 * i + 2][0], left, rows[i]);
    multiply_add<2>(sum[4 * i + 2][1], right, rows[i]);
    multiply_add<3>(sum[4 * i + 3][0], left, rows[i]);
    multiply_add<3>(sum[4 * i + 3][1], right, rows[i]);
  }
}

void products_part(const float* rows, const float* columns, std::int64_t depth, float* tile) {
  float32x4_t sum[kTileRows][2];
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) sum[r][0] = sum[r][1] = vdupq_n_f32(0.0F);
  for (std::int64_t k = 0; k < depth; ++k) {
    const float32x4_t own[3] = {vld1q_f32(rows), vld1q_f32(rows + 4), vld1q_f32(rows + 8)};
    multiply_add_part(sum, own, vld1q_f32(columns), vld1q_f32(columns + 4));
    rows += kTileRows;
    columns += kTileColumns;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) {
    vst1q_f32(tile + r * kTileColumns, sum[r][0]);
    vst1q_f32(tile + r * kTileColumns + 4, sum[r][1]);
  }
}

void products(const float* rows, const float* columns, std::int64_t depth, float* tile) {
  for (int c = 0; c < kTileColumns; c += kPartColumns) {
    products_part(rows, columns + c, depth, tile + c);
  }
}

// Four elements, widened.
inline float64x2x2_t load_wide(const float* p) {
  const float32x4_t x = vld1q_f32(p);
  return {{vcvt_f64_f32(vget_low_f32(x)), vcvt_high_f64_f32(x)}};
}
inline float64x2x2_t load_wide(const double* p) { return {{vld1q_f64(p), vld1q_f64(p + 2)}}; }

template <bool kFused>
inline void multiply_add(float64x2_t& sum, float64x2_t a, float64x2_t b) {
  sum = kFused ? vfmaq_f64(sum, a, b) : vaddq_f64(sum, vmulq_f64(a, b));
}

// The lanes of dot_lanes(), added as there. From their generic vectors GCC makes loops that keep
// the sums in memory.
template <bool kFused, typename A, typename B>
double dot_wide(const A* a, const B* b, std::int64_t n) {
  float64x2_t sum[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) sum[i] = vdupq_n_f64(0.0);
  std::int64_t k = 0;
  for (; k + 32 <= n; k += 32) {
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
      const float64x2x2_t x = load_wide(a + k + 4 * i), y = load_wide(b + k + 4 * i);
      multiply_add<kFused>(sum[2 * i], x.val[0], y.val[0]);
      multiply_add<kFused>(sum[2 * i + 1], x.val[1], y.val[1]);
    }
  }
  double pairs[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    pairs[i] =
        vaddvq_f64(vaddq_f64(vaddq_f64(sum[i], sum[i + 4]), vaddq_f64(sum[i + 8], sum[i + 12])));
  }
  double total = (pairs[0] + pairs[1]) + (pairs[2] + pairs[3]);
  for (; k < n; ++k) total += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return total;
}

// The bits of dot_short().
float dot_short_neon(const float* a, const float* b, std::int64_t n) {
  float32x4_t sum[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) sum[i] = vdupq_n_f32(0.0F);
  std::int64_t k = 0;
  for (; k + 64 <= n; k += 64) {
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      sum[i] = vaddq_f32(sum[i], vmulq_f32(vld1q_f32(a + k + 4 * i), vld1q_f32(b + k + 4 * i)));
    }
  }
  float lanes[16];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    vst1q_f32(lanes + 4 * i,
              vaddq_f32(vaddq_f32(sum[i], sum[i + 4]), vaddq_f32(sum[i + 8], sum[i + 12])));
  }
  float total = 0.0F;
  for (const float lane : lanes) total += lane;
  for (; k < n; ++k) total += a[k] * b[k];
  return total;
}

// Signed bytes are multiplied as they are: the corrections of the columns are zeros.
constexpr int kOffset = 0;

void code_products_part(const std::int8_t* rows, const std::int8_t* columns, std::int64_t depth,
                        std::int32_t* tile) {
  int32x4_t sum[kTileRows][2];
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) sum[r][0] = sum[r][1] = vdupq_n_s32(0);
  while (depth > 0) {
    const std::int64_t chunk = depth < kCodeChunk ? depth : kCodeChunk;
    columns += kTileColumns * 4;
    for (std::int64_t k = 0; k < chunk; k += kCodeGroup) {
      const int8x16_t own[3] = {vld1q_s8(rows), vld1q_s8(rows + 16), vld1q_s8(rows + 32)};
      multiply_add_part(sum, own, vld1q_s8(columns), vld1q_s8(columns + 16));
      rows += kTileRows * kCodeGroup;
      columns += kTileColumns * kCodeGroup;
    }
    depth -= chunk;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kTileRows; ++r) {
    vst1q_s32(tile + r * kTileColumns, sum[r][0]);
    vst1q_s32(tile + r * kTileColumns + 4, sum[r][1]);
  }
}

void code_products(const std::uint8_t* rows, const std::int8_t* columns, std::int64_t depth,
                   std::int32_t* tile) {
  for (int c = 0; c < kTileColumns; c += kPartColumns) {
    code_products_part(reinterpret_cast<const std::int8_t*>(rows), columns + c * kCodeGroup, depth,
                       tile + c);
  }
}

inline void store_sums(const int32x4_t (&sum)[4][2], std::int32_t correction, std::int64_t i,
                       std::int64_t count, std::int32_t* out) {
  int32x4_t each[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) each[j] = vaddq_s32(sum[j][0], sum[j][1]);
  const int32x4_t sums =
      vsubq_s32(vpaddq_s32(vpaddq_s32(each[0], each[1]), vpaddq_s32(each[2], each[3])),
                vdupq_n_s32(correction));
  if (i + 4 <= count) {
    vst1q_s32(out + i, sums);
    return;
  }
  std::int32_t last[4];
  vst1q_s32(last, sums);
  for (int j = 0; i + j < count; ++j) out[i + j] = last[j];
}

void gather_products(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                     std::int64_t depth, std::int32_t* out) {
  for (std::int64_t i = 0; i < count; i += 4) {
    const FourColumns column(columns, i, count);
    int32x4_t sum[4][2];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum[j][0] = sum[j][1] = vdupq_n_s32(0);
    for (std::int64_t k = 0; k < depth; k += 64) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) __builtin_prefetch(column.later[j] + k);
#pragma GCC unroll 2
      for (int at = 0; at < 64; at += 32) {
        const int8x16_t left = vld1q_s8(row + k + at), right = vld1q_s8(row + k + at + 16);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const std::int8_t* other = column.now[j] + k + at;
          sum[j][0] = vdotq_s32(sum[j][0], left, vld1q_s8(other));
          sum[j][1] = vdotq_s32(sum[j][1], right, vld1q_s8(other + 16));
        }
      }
    }
    store_sums(sum, 0, i, count, out);
  }
}

void gather_fine(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                 std::int64_t depth, std::int32_t* out) {
  const int8x16_t half = vdupq_n_s8(15);
  const std::int32_t correction = 8 * sum_codes(row, depth);
  for (std::int64_t i = 0; i < count; i += 4) {
    const FourColumns column(columns, i, count);
    int32x4_t sum[4][2];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum[j][0] = sum[j][1] = vdupq_n_s32(0);
    for (std::int64_t k = 0; k < depth; k += 128) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) __builtin_prefetch(column.later[j] + k / 2);
#pragma GCC unroll 4
      for (int at = 0; at < 64; at += 16) {
        const int8x16_t low = vld1q_s8(row + k + at), high = vld1q_s8(row + k + 64 + at);
#pragma GCC unroll 4
        for (int j = 0; j < 4; ++j) {
          const int8x16_t both = vld1q_s8(column.now[j] + k / 2 + at);
          const auto upper = vreinterpretq_s8_u8(vshrq_n_u8(vreinterpretq_u8_s8(both), 4));
          sum[j][0] = vdotq_s32(sum[j][0], low, vandq_s8(both, half));
          sum[j][1] = vdotq_s32(sum[j][1], high, upper);
        }
      }
    }
    store_sums(sum, correction, i, count, out);
  }
}

constexpr Kernel kKernel = with_loops<Vector>({
    .name = "neon",
    .limits = {127, 0.0, 0},
    .code_products = code_products,
    .pack_row_codes = pack_row_codes<kOffset>,
    .pack_column_codes = pack_column_codes<kOffset, false>,
    .gather_products = gather_products,
    .gather_fine = gather_fine,
    .products = products,
    .dot_float = dot_wide<true, float, float>,
    .dot_mixed = dot_wide<true, double, float>,
    .dot_double = dot_wide<false, double, double>,
    .dot_short = dot_short_neon,
});

// The extension is optional before Armv8.4; every Apple processor that runs macOS has it.
bool usable() {
#if defined(__APPLE__)
  return true;
#elif defined(__linux__) && defined(HWCAP_ASIMDDP)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return false;
#endif
}

}  // namespace

const Kernel* kernel_neon() { return usable() ? &kKernel : nullptr; }

}  // namespace helip::mining

#else

namespace helip::mining {

const Kernel* kernel_neon() { return nullptr; }
}  // namespace helip::mining

#endif
