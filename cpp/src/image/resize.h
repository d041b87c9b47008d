// Antialiased resampling of a part of an image, in two passes of integer arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "image/axis.h"
#include "image/decode/image.h"
#include "image/pixel_kernel.h"

namespace helip::image {

// Rows of RGB pixels that somebody else owns.
struct ImageView {
  const uint8_t* data = nullptr;
  Size size;
  int64_t stride = 0;        // bytes from row to row
  std::size_t readable = 0;  // bytes from `data` on; kernels read past the last pixel

  ImageView() = default;
  ImageView(const Image& image) noexcept  // NOLINT: an image is its view
      : data(image.data()),
        size(image.size()),
        stride(image.stride()),
        readable(image.readable()) {}
  // Rows without gaps, and nothing behind the last.
  ImageView(const uint8_t* rgb, Size its_size) noexcept
      : data(rgb),
        size(its_size),
        stride(its_size.width * kChannels),
        readable(static_cast<std::size_t>(its_size.height * stride)) {}
};

// Not thread-safe: keeps its buffers from call to call.
class Resizer {
 public:
  explicit Resizer(const PixelKernel& kernel = fastest_pixel_kernel()) noexcept
      : kernel_(&kernel) {}

  // out becomes [rows.count, columns.count]. As in Pillow, whose result it equals within a level,
  // columns come first and there are eight bits in between; rows come first for an image whose
  // sides will be swapped.
  void resize(const ImageView& source, const Axis& rows, const Axis& columns,
              Interpolation interpolation, Image& out, bool rows_first = false);

  void release_above(std::size_t bytes) noexcept;

 private:
  // Rows first .. last - 1 of `source` to rows 0 .. of `out`.
  void weigh_columns(const ImageView& source, Extent rows, uint8_t* out, int64_t out_stride);
  // All results of rows_ out of `source`, whose row 0 is row `first` of the axis.
  void weigh_rows(const ImageView& source, int64_t first, uint8_t* out, int64_t out_stride);
  // The address of a row that may be read kSlack bytes past its end, copied into `slot` if need be.
  const uint8_t* readable_row(const ImageView& source, int64_t y, int64_t slot);

  const PixelKernel* kernel_;
  AxisWeights rows_;
  AxisWeights columns_;
  std::vector<double> draft_;
  Bytes between_;      // what the first pass gives
  Bytes spare_row_;    // where a group of rows has less than its size
  Bytes copied_rows_;  // of a source with nothing behind its last row
  std::vector<const uint8_t*> taps_;
};

}  // namespace helip::image
