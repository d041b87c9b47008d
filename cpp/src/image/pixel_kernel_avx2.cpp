// Compiled with -mavx2.
#include "image/pixel_kernel.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include <cstring>

#include "image/pixel_loops.h"

namespace helip::image {
namespace {

// Of four RGB pixels, the same in both halves: half 0 takes pixels 0 and 1, half 1 pixels 2 and 3,
// as 16-bit numbers in the order r r g g b b, so that one multiply-add sums a pair of each channel.
inline __m256i pair_pixels(__m128i pixels) {
  const __m256i order =
      _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 6, -1, 9, -1, 7,
                       -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(pixels), order);
}

// Of four weights: half 0 the first two, half 1 the last two, each pair four times.
inline __m256i pair_weights(const std::int16_t* weights) {
  const __m256i order = _mm256_setr_epi8(0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,  //
                                         4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7, 4, 5, 6, 7);
  std::int64_t four;
  std::memcpy(&four, weights, sizeof four);
  return _mm256_shuffle_epi8(_mm256_set1_epi64x(four), order);
}

inline __m128i load(const std::uint8_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

void weigh_columns(const std::uint8_t* const* rows, std::int64_t count, const std::int32_t* first,
                   const std::int16_t* weights, std::int64_t stride, const std::int32_t* precision,
                   std::uint8_t* const* out) {
  for (std::int64_t o = 0; o < count; ++o) {
    const __m128i half = _mm_set1_epi32(std::int32_t{1} << (precision[o] - 1));
    const __m128i shift = _mm_cvtsi32_si128(precision[o]);
    const std::int64_t at = 3 * std::int64_t{first[o]};
    const std::int16_t* weight = weights + o * stride;
    __m256i sum0 = _mm256_setzero_si256();
    __m256i sum1 = sum0;
    __m256i sum2 = sum0;
    __m256i sum3 = sum0;
    for (std::int64_t i = 0; i < stride; i += 4) {
      const __m256i w = pair_weights(weight + i);
      const std::int64_t from = at + 3 * i;
      sum0 = _mm256_add_epi32(sum0, _mm256_madd_epi16(pair_pixels(load(rows[0] + from)), w));
      sum1 = _mm256_add_epi32(sum1, _mm256_madd_epi16(pair_pixels(load(rows[1] + from)), w));
      sum2 = _mm256_add_epi32(sum2, _mm256_madd_epi16(pair_pixels(load(rows[2] + from)), w));
      sum3 = _mm256_add_epi32(sum3, _mm256_madd_epi16(pair_pixels(load(rows[3] + from)), w));
    }
    const auto finish = [&](__m256i sum) {
      const __m128i both =
          _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
      return _mm_sra_epi32(_mm_add_epi32(both, half), shift);
    };
    const __m128i bytes = _mm_packus_epi16(_mm_packs_epi32(finish(sum0), finish(sum1)),
                                           _mm_packs_epi32(finish(sum2), finish(sum3)));
    const std::int32_t pixels[4] = {_mm_extract_epi32(bytes, 0), _mm_extract_epi32(bytes, 1),
                                    _mm_extract_epi32(bytes, 2), _mm_extract_epi32(bytes, 3)};
    // Four bytes where three are meant: the next pixel overwrites the fourth.
    for (int r = 0; r < 4; ++r) std::memcpy(out[r] + 3 * o, &pixels[r], 4);
  }
}

void weigh_rows(const std::uint8_t* const* rows, const std::int16_t* weights, std::int64_t taps,
                int precision, std::int64_t bytes, std::uint8_t* out) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i half = _mm256_set1_epi32(std::int32_t{1} << (precision - 1));
  const __m128i shift = _mm_cvtsi32_si128(precision);
  const auto load_row = [](const std::uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  };
  for (std::int64_t b = 0; b < bytes; b += 32) {
    __m256i sum0 = half;
    __m256i sum1 = half;
    __m256i sum2 = half;
    __m256i sum3 = half;
    // Bytes of two rows side by side, widened, meet their two weights in one multiply-add.
    const auto take = [&](__m256i above, __m256i below, __m256i w) {
      const __m256i low = _mm256_unpacklo_epi8(above, below);
      const __m256i high = _mm256_unpackhi_epi8(above, below);
      sum0 = _mm256_add_epi32(sum0, _mm256_madd_epi16(_mm256_unpacklo_epi8(low, zero), w));
      sum1 = _mm256_add_epi32(sum1, _mm256_madd_epi16(_mm256_unpackhi_epi8(low, zero), w));
      sum2 = _mm256_add_epi32(sum2, _mm256_madd_epi16(_mm256_unpacklo_epi8(high, zero), w));
      sum3 = _mm256_add_epi32(sum3, _mm256_madd_epi16(_mm256_unpackhi_epi8(high, zero), w));
    };
    std::int64_t tap = 0;
    for (; tap + 1 < taps; tap += 2) {
      std::int32_t two;
      std::memcpy(&two, weights + tap, sizeof two);
      take(load_row(rows[tap] + b), load_row(rows[tap + 1] + b), _mm256_set1_epi32(two));
    }
    if (tap < taps) {
      take(load_row(rows[tap] + b), zero,
           _mm256_set1_epi32(static_cast<std::uint16_t>(weights[tap])));
    }
    const __m256i low =
        _mm256_packs_epi32(_mm256_sra_epi32(sum0, shift), _mm256_sra_epi32(sum1, shift));
    const __m256i high =
        _mm256_packs_epi32(_mm256_sra_epi32(sum2, shift), _mm256_sra_epi32(sum3, shift));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + b), _mm256_packus_epi16(low, high));
  }
}

}  // namespace

const PixelKernel* pixel_kernel_avx2() noexcept {
  static constexpr PixelKernel kKernel{"avx2",    weigh_columns, weigh_rows, blur,     sum_luma,
                                       grayscale, saturate,      shift_hue,  map_bytes};
  return __builtin_cpu_supports("avx2") ? &kKernel : nullptr;
}

}  // namespace helip::image

#else

namespace helip::image {

const PixelKernel* pixel_kernel_avx2() noexcept { return nullptr; }

}  // namespace helip::image

#endif
