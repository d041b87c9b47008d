#include "image/resize.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace helip::image {
namespace {

constexpr int64_t kRowsAtOnce = 4;
constexpr int64_t kVector = 32;

// A row with the byte that a kernel writes past its end, to whole vectors.
int64_t padded(int64_t row_bytes) noexcept { return (row_bytes + kVector) / kVector * kVector; }

}  // namespace

void Resizer::resize(const ImageView& source, const Axis& rows, const Axis& columns,
                     Interpolation interpolation, Image& out, bool rows_first) {
  make_weights(rows, interpolation, rows_, draft_);
  make_weights(columns, interpolation, columns_, draft_);
  out.resize({rows.count, columns.count});
  ImageView between;
  if (rows_first) {
    between.size = {rows.count, source.size.width};
  } else {
    const Extent extent = extent_of(rows, interpolation);
    between.size = {extent.last - extent.first, columns.count};
  }
  between.stride = padded(between.size.width * kChannels);
  const auto bytes = static_cast<std::size_t>(between.size.height * between.stride);
  uint8_t* memory = between_.reserve(bytes);
  between.data = memory;
  between.readable = between_.capacity();
  if (rows_first) {
    weigh_rows(source, 0, memory, between.stride);
    weigh_columns(between, {0, rows.count}, out.data(), out.stride());
  } else {
    const Extent extent = extent_of(rows, interpolation);
    weigh_columns(source, extent, memory, between.stride);
    weigh_rows(between, extent.first, out.data(), out.stride());
  }
}

void Resizer::weigh_columns(const ImageView& source, Extent rows, uint8_t* out,
                            int64_t out_stride) {
  const int64_t row_bytes = columns_.count * kChannels;
  uint8_t* spare = spare_row_.reserve(static_cast<std::size_t>(kRowsAtOnce * padded(row_bytes)));
  const int64_t height = rows.last - rows.first;
  for (int64_t done = 0; done < height; done += kRowsAtOnce) {
    std::array<const uint8_t*, kRowsAtOnce> from{};
    std::array<uint8_t*, kRowsAtOnce> to{};
    // Rows without a gap would overwrite each other's first byte.
    const bool apart = out_stride > row_bytes;
    for (int64_t r = 0; r < kRowsAtOnce; ++r) {
      const int64_t y = std::min(done + r, height - 1);
      const auto slot = static_cast<std::size_t>(r);
      from[slot] = readable_row(source, rows.first + y, r);
      to[slot] = apart && done + r < height ? out + y * out_stride : spare + r * padded(row_bytes);
    }
    kernel_->weigh_columns(from.data(), columns_.count, columns_.first.data(),
                           columns_.weights.data(), columns_.stride, columns_.precision.data(),
                           to.data());
    if (apart) continue;
    for (int64_t r = 0; r < kRowsAtOnce && done + r < height; ++r) {
      std::memcpy(out + (done + r) * out_stride, to[static_cast<std::size_t>(r)],
                  static_cast<std::size_t>(row_bytes));
    }
  }
}

void Resizer::weigh_rows(const ImageView& source, int64_t first, uint8_t* out, int64_t out_stride) {
  taps_.resize(static_cast<std::size_t>(rows_.taps));
  for (int64_t o = 0; o < rows_.count; ++o) {
    const int64_t from = rows_.first[static_cast<std::size_t>(o)] - first;
    // Taps past the last row weigh nothing.
    for (int64_t i = 0; i < rows_.taps; ++i) {
      taps_[static_cast<std::size_t>(i)] =
          source.data + std::min(from + i, source.size.height - 1) * source.stride;
    }
    kernel_->weigh_rows(taps_.data(), rows_.weights.data() + o * rows_.stride, rows_.taps,
                        rows_.precision[static_cast<std::size_t>(o)], source.size.width * kChannels,
                        out + o * out_stride);
  }
}

const uint8_t* Resizer::readable_row(const ImageView& source, int64_t y, int64_t slot) {
  const int64_t row_bytes = source.size.width * kChannels;
  const auto needed = static_cast<std::size_t>(row_bytes) + kSlack;
  const uint8_t* row = source.data + y * source.stride;
  if (static_cast<std::size_t>(y * source.stride) + needed <= source.readable) return row;
  copied_rows_.reserve(needed * static_cast<std::size_t>(kRowsAtOnce));
  uint8_t* copy = copied_rows_.data() + static_cast<std::size_t>(slot) * needed;
  std::memcpy(copy, row, static_cast<std::size_t>(row_bytes));
  return copy;
}

void Resizer::release_above(std::size_t bytes) noexcept {
  between_.release_above(bytes);
  spare_row_.release_above(bytes);
  copied_rows_.release_above(bytes);
  for (AxisWeights* weights : {&rows_, &columns_}) {
    if (weights->weights.capacity() * sizeof(std::int16_t) > bytes) *weights = {};
  }
}

}  // namespace helip::image
