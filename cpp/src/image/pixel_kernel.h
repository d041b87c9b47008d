// The inner loops over pixels: one source for each instruction set, chosen at run time. All of it
// is integer arithmetic or IEEE +, -, *, / without contraction: every kernel gives the same bytes.
#pragma once

#include <cstdint>
#include <vector>

namespace helip::image {

struct PixelKernel {
  const char* name;

  // Weighted sums along a row, for four rows at once. rows[r] and out[r] are RGB; result o of row r
  // is the sum of pixel first[o] + i times weights[o * stride + i], i < stride, over 2^precision,
  // rounded and clipped. Reads up to 16 bytes past the last pixel, writes one past it.
  void (*weigh_columns)(const std::uint8_t* const* rows, std::int64_t count,
                        const std::int32_t* first, const std::int16_t* weights, std::int64_t stride,
                        const std::int32_t* precision, std::uint8_t* const* out);

  // The same across rows: out[b] from rows[i][b], i < taps, b < bytes. Reads and writes up to 31
  // bytes past `bytes`.
  void (*weigh_rows)(const std::uint8_t* const* rows, const std::int16_t* weights,
                     std::int64_t taps, int precision, std::int64_t bytes, std::uint8_t* out);

  // One step of an extended box blur (Pillow's BoxBlur.c): taps[0] and taps[count - 1] weigh `far`,
  // those between `near`; the sum is rounded at 2^24.
  void (*blur)(const std::uint8_t* const* taps, std::int64_t count, std::uint32_t near,
               std::uint32_t far, std::int64_t bytes, std::uint8_t* out);

  // In place over RGB pixels; the arithmetic is that of Pillow, which torchvision calls.
  std::uint64_t (*sum_luma)(const std::uint8_t* rgb, std::int64_t pixels);
  void (*grayscale)(std::uint8_t* rgb, std::int64_t pixels);
  void (*saturate)(std::uint8_t* rgb, std::int64_t pixels, float factor);
  void (*shift_hue)(std::uint8_t* rgb, std::int64_t pixels, int shift);  // of 256 steps a turn

  // Bytes through a table: out[i] = table[in[i]].
  void (*map_bytes)(std::uint8_t* bytes, std::int64_t count, const std::uint8_t* table);
};

const PixelKernel* pixel_kernel_portable() noexcept;
const PixelKernel*
pixel_kernel_avx2() noexcept;  // nullptr where the build or the processor lacks it

std::vector<const PixelKernel*> available_pixel_kernels();  // the fastest first
const PixelKernel& fastest_pixel_kernel() noexcept;         // chosen once

}  // namespace helip::image
