// Compiled with -mavx2 -mfma.
#include "mine/kernel/kernel.h"

#if defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

#include "mine/kernel/kernel_loops.h"

namespace helip::mining {
namespace {

struct Vector {
  static constexpr int kSize = 8;
  __m256 v;
  static Vector load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static Vector load_integers(const std::int32_t* p) {
    return {_mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static Vector broadcast(float x) { return {_mm256_set1_ps(x)}; }
  Vector operator+(Vector b) const { return {_mm256_add_ps(v, b.v)}; }
  static Vector absolute(Vector a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.v)}; }
  static Vector min(Vector a, Vector b) { return {_mm256_min_ps(a.v, b.v)}; }
  static Vector multiply_add(Vector a, Vector b, Vector c) {
    return {_mm256_fmadd_ps(a.v, b.v, c.v)};
  }
  static std::uint32_t reaches(Vector a, Vector b) {
    return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)));
  }
};

// 12 accumulators, two column vectors and two broadcasts: all 16 registers.
constexpr int kPartRows = 6;

void products_part(const float* rows, const float* columns, std::int64_t depth, float* tile) {
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

void products(const float* rows, const float* columns, std::int64_t depth, float* tile) {
  for (int c = 0; c < kTileColumns; c += 16) {
    for (int r = 0; r < kTileRows; r += kPartRows) {
      products_part(rows + r, columns + c, depth, tile + r * kTileColumns + c);
    }
  }
}

struct Wide {
  static constexpr int kSize = 4;
  __m256d v;
  static Wide zero() { return {_mm256_setzero_pd()}; }
  static Wide load(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p))}; }
  static Wide load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static void store(double* p, Wide a) { _mm256_store_pd(p, a.v); }
  Wide operator+(Wide b) const { return {_mm256_add_pd(v, b.v)}; }
  static Wide multiply_add(Wide a, Wide b, Wide c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
};

// Pairs of products are added in 16 bits without saturation: 2 · 180 · 90 < 2^15.
constexpr int kOffset = 90;
constexpr int kCodePartRows = 3;  // 12 accumulators, a broadcast and a product: 14 registers

void code_products_part(const std::uint8_t* rows, const std::int8_t* columns, std::int64_t depth,
                        std::int32_t* tile) {
  bool first = true;
  while (depth > 0) {
    const std::int64_t chunk = depth < kCodeChunk ? depth : kCodeChunk;
    const auto* corrections = reinterpret_cast<const __m256i*>(columns);
    __m256i sum[kCodePartRows][4];
#pragma GCC unroll 3
    for (int r = 0; r < kCodePartRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) sum[r][c] = _mm256_load_si256(corrections + c);
    }
    columns += kTileColumns * 4;
    for (std::int64_t k = 0; k < chunk; k += kCodeGroup) {
      const auto* codes = reinterpret_cast<const __m256i*>(columns);
#pragma GCC unroll 3
      for (int r = 0; r < kCodePartRows; ++r) {
        std::int32_t four;
        __builtin_memcpy(&four, rows + r * kCodeGroup, 4);
        const __m256i row = _mm256_set1_epi32(four);
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) {
          sum[r][c] =
              _mm256_add_epi16(sum[r][c], _mm256_maddubs_epi16(row, _mm256_load_si256(codes + c)));
        }
      }
      rows += kTileRows * kCodeGroup;
      columns += kTileColumns * kCodeGroup;
    }
#pragma GCC unroll 3
    for (int r = 0; r < kCodePartRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) {
        auto* out = reinterpret_cast<__m256i*>(tile + r * kTileColumns) + c;
        __m256i wide = _mm256_madd_epi16(sum[r][c], _mm256_set1_epi16(1));
        if (!first) wide = _mm256_add_epi32(wide, _mm256_load_si256(out));
        _mm256_store_si256(out, wide);
      }
    }
    first = false;
    depth -= chunk;
  }
}

// Eight groups of codes.
struct Groups {
  static constexpr int kLanes = 8;
  __m256i v;
  static Groups zero() { return {_mm256_setzero_si256()}; }
  static Groups load(const std::int8_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
  }
  static void store(std::int8_t* p, Groups a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.v);
  }
  static Groups add_pairs(Groups sums, Groups codes) {
    return {_mm256_add_epi16(sums.v, _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes.v))};
  }
  template <int kOffset, bool kHalves>
  static Groups corrections(Groups sums) {
    static_assert(kHalves);
    return {_mm256_mullo_epi16(sums.v, _mm256_set1_epi16(-kOffset))};
  }
  // Lane j of line i becomes lane i of line j.
  static void transpose(Groups (&lines)[8]) {
    __m256i pairs[8], fours[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_epi32(lines[i].v, lines[i + 1].v);
      pairs[i + 1] = _mm256_unpackhi_epi32(lines[i].v, lines[i + 1].v);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
      fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
      fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
      fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      lines[i].v = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
      lines[i + 4].v = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
    }
  }
};

// The sign of the row's code moves to the column's, for the instruction wants one side unsigned:
// two products of at most 127 · 127 fit into 16 bits. What comes next is fetched meanwhile.
void gather_products(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                     std::int64_t depth, std::int32_t* out) {
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::int64_t i = 0; i < count; i += 4) {
    const FourColumns column(columns, i, count);
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                      _mm256_setzero_si256()};
    for (std::int64_t k = 0; k < depth; k += 32) {
      const __m256i own = _mm256_load_si256(reinterpret_cast<const __m256i*>(row + k));
      const __m256i absolute = _mm256_abs_epi8(own);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        if (k % 64 == 0)
          _mm_prefetch(reinterpret_cast<const char*>(column.later[j] + k), _MM_HINT_T0);
        const __m256i other =
            _mm256_load_si256(reinterpret_cast<const __m256i*>(column.now[j] + k));
        const __m256i products = _mm256_maddubs_epi16(absolute, _mm256_sign_epi8(other, own));
        sum[j] = _mm256_add_epi32(sum[j], _mm256_madd_epi16(products, ones));
      }
    }
    const __m256i all =
        _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]), _mm256_hadd_epi32(sum[2], sum[3]));
    std::int32_t sums[4];
    _mm_storeu_si128(reinterpret_cast<__m128i*>(sums),
                     _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
    for (int j = 0; j < 4 && i + j < count; ++j) out[i + j] = sums[j];
  }
}

void gather_fine(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                 std::int64_t depth, std::int32_t* out) {
  const __m256i half = _mm256_set1_epi8(15);
  const __m256i ones = _mm256_set1_epi16(1);
  const std::int32_t correction = 8 * sum_codes(row, depth);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int8_t* later = columns[i + 4 < count ? i + 4 : count - 1];
    __m256i sum = _mm256_setzero_si256();
    for (std::int64_t k = 0; k < depth; k += 128) {
      _mm_prefetch(reinterpret_cast<const char*>(later + k / 2), _MM_HINT_T0);
      for (int j = 0; j < 64; j += 32) {
        const __m256i both =
            _mm256_load_si256(reinterpret_cast<const __m256i*>(columns[i] + k / 2 + j));
        const auto own = [&](std::int64_t at) {
          return _mm256_load_si256(reinterpret_cast<const __m256i*>(row + at));
        };
        // At most 4 · 15 · 127 in 16 bits.
        const __m256i products = _mm256_add_epi16(
            _mm256_maddubs_epi16(_mm256_and_si256(both, half), own(k + j)),
            _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16(both, 4), half),
                                 own(k + 64 + j)));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(products, ones));
      }
    }
    __m128i low = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    low = _mm_add_epi32(low, _mm_shuffle_epi32(low, 0x4e));
    low = _mm_add_epi32(low, _mm_shuffle_epi32(low, 0xb1));
    out[i] = _mm_cvtsi128_si32(low) - correction;
  }
}

void code_products(const std::uint8_t* rows, const std::int8_t* columns, std::int64_t depth,
                   std::int32_t* tile) {
  for (int r = 0; r < kTileRows; r += kCodePartRows) {
    code_products_part(rows + r * kCodeGroup, columns, depth, tile + r * kTileColumns);
  }
}

constexpr Kernel kKernel = with_loops<Vector>({
    .name = "avx2",
    .limits = {kOffset, 181.0, 0},
    .code_products = code_products,
    .pack_row_codes = pack_row_codes<kOffset>,
    .pack_column_codes = pack_column_codes_by<Groups, kOffset, true>,
    .gather_products = gather_products,
    .gather_fine = gather_fine,
    .products = products,
    .dot_float = dot_fused<Wide, float>,
    .dot_mixed = dot_fused<Wide, double>,
    .dot_double = dot_double,
    .dot_short = dot_short,
});

}  // namespace

const Kernel* kernel_avx2() {
  const bool usable = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return usable ? &kKernel : nullptr;
}

}  // namespace helip::mining

#else

namespace helip::mining {
const Kernel* kernel_avx2() { return nullptr; }
}  // namespace helip::mining

#endif
