#include "mine/kernel/product_panels.h"

#include <algorithm>
#include <vector>

namespace helip::mining {

ProductPanels::ProductPanels(const float* vectors, std::int64_t count, std::int64_t depth,
                             const Kernel& kernel)
    : count_(count),
      depth_(depth),
      panels_((count + kTileColumns - 1) / kTileColumns),
      kernel_(kernel),
      packed_(allocate_aligned<float>(panels_ * depth * kTileColumns)) {
  std::vector<float> some(static_cast<std::size_t>(kTileColumns * depth));
  for (std::int64_t panel = 0; panel < panels_; ++panel) {
    const std::int64_t first = panel * kTileColumns;
    const std::int64_t present = std::min<std::int64_t>(kTileColumns, count - first);
    std::fill(some.begin(), some.end(), 0.0F);
    std::copy_n(vectors + first * depth, present * depth, some.begin());
    kernel.interleave(some.data(), depth, kTileColumns,
                      packed_.get() + panel * depth * kTileColumns);
  }
}

void ProductPanels::multiply(const float* rows, std::int64_t tiles, float* out) const {
  alignas(64) float tile[kTileRows * kTileColumns];
  for (std::int64_t panel = 0; panel < panels_; ++panel) {
    const float* columns = packed_.get() + panel * depth_ * kTileColumns;
    for (std::int64_t k = 0; k < depth_; k += kProductRun) {
      const std::int64_t run = std::min(kProductRun, depth_ - k);
      for (std::int64_t t = 0; t < tiles; ++t) {
        kernel_.products(rows + (t * depth_ + k) * kTileRows, columns + k * kTileColumns, run,
                         tile);
        float* first = out + t * kTileRows * padded() + panel * kTileColumns;
        for (int r = 0; r < kTileRows; ++r) {
          float* sums = first + r * padded();
          const float* more = tile + r * kTileColumns;
          if (k == 0) {
            std::copy_n(more, kTileColumns, sums);
          } else {
            for (int c = 0; c < kTileColumns; ++c) sums[c] += more[c];
          }
        }
      }
    }
  }
}

PackedRows::PackedRows(std::int64_t depth, const Kernel& kernel)
    : depth_(depth),
      kernel_(kernel),
      packed_(static_cast<std::size_t>(kProductRows * depth)),
      last_(static_cast<std::size_t>(kTileRows * depth)) {}

void PackedRows::pack(const float* rows, std::int64_t count) {
  tiles_ = (count + kTileRows - 1) / kTileRows;
  for (std::int64_t t = 0; t < tiles_; ++t) {
    const float* from = rows + t * kTileRows * depth_;
    const std::int64_t present = std::min<std::int64_t>(kTileRows, count - t * kTileRows);
    if (present < kTileRows) {
      std::fill(last_.begin(), last_.end(), 0.0F);
      std::copy_n(from, present * depth_, last_.begin());
      from = last_.data();
    }
    kernel_.interleave(from, depth_, kTileRows, packed_.data() + t * kTileRows * depth_);
  }
}

double product_error(std::int64_t depth) noexcept {
  constexpr double u = 0x1p-24;
  const auto run = static_cast<double>(std::min(kProductRun, depth));
  const auto runs = static_cast<double>((depth + kProductRun - 1) / kProductRun);
  const double roundings = (run + runs) * u;
  return roundings / (1.0 - roundings) + 1e-12;  // the last term: float32 underflow
}

}  // namespace helip::mining
