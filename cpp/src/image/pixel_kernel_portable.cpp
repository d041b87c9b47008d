#include "image/pixel_kernel.h"
#include "image/pixel_loops.h"

namespace helip::image {
namespace {

void weigh_columns(const std::uint8_t* const* rows, std::int64_t count, const std::int32_t* first,
                   const std::int16_t* weights, std::int64_t stride, const std::int32_t* precision,
                   std::uint8_t* const* out) {
  for (int r = 0; r < 4; ++r) {
    for (std::int64_t o = 0; o < count; ++o) {
      const std::int32_t half = std::int32_t{1} << (precision[o] - 1);
      const std::uint8_t* pixel = rows[r] + 3 * std::int64_t{first[o]};
      const std::int16_t* weight = weights + o * stride;
      std::int32_t red = half;
      std::int32_t green = half;
      std::int32_t blue = half;
      for (std::int64_t i = 0; i < stride; ++i) {
        red += weight[i] * pixel[3 * i];
        green += weight[i] * pixel[3 * i + 1];
        blue += weight[i] * pixel[3 * i + 2];
      }
      out[r][3 * o] = clipped(red, precision[o]);
      out[r][3 * o + 1] = clipped(green, precision[o]);
      out[r][3 * o + 2] = clipped(blue, precision[o]);
    }
  }
}

void weigh_rows(const std::uint8_t* const* rows, const std::int16_t* weights, std::int64_t taps,
                int precision, std::int64_t bytes, std::uint8_t* out) {
  constexpr std::int64_t kBytes = 256;
  std::int32_t sum[kBytes];
  for (std::int64_t done = 0; done < bytes; done += kBytes) {
    const std::int64_t size = bytes - done < kBytes ? bytes - done : kBytes;
    for (std::int64_t i = 0; i < size; ++i) sum[i] = std::int32_t{1} << (precision - 1);
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      const std::uint8_t* row = rows[tap] + done;
      const std::int32_t weight = weights[tap];
      for (std::int64_t i = 0; i < size; ++i) sum[i] += weight * row[i];
    }
    for (std::int64_t i = 0; i < size; ++i) out[done + i] = clipped(sum[i], precision);
  }
}

}  // namespace

const PixelKernel* pixel_kernel_portable() noexcept {
  static constexpr PixelKernel kKernel{"portable", weigh_columns, weigh_rows, blur,     sum_luma,
                                       grayscale,  saturate,      shift_hue,  map_bytes};
  return &kKernel;
}

}  // namespace helip::image
