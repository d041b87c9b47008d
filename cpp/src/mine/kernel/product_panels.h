// Float32 products of a few vectors with a fixed set of others, on the kernels' tiles.
#pragma once

#include <cstdint>
#include <vector>

#include "base/aligned.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

// A [count, depth] matrix packed once, to be multiplied with many rows. Immutable; safe to share.
class ProductPanels {
 public:
  ProductPanels(const float* vectors, std::int64_t count, std::int64_t depth, const Kernel& kernel);

  std::int64_t count() const noexcept { return count_; }
  std::int64_t depth() const noexcept { return depth_; }
  // Columns of what multiply() writes: count, rounded up to kTileColumns.
  std::int64_t padded() const noexcept { return panels_ * kTileColumns; }

  // out[r * padded() + c] = <row r, vector c> for `tiles` times kTileRows rows: `rows` [tiles,
  // depth, kTileRows] as Kernel::interleave() gives them. Several tiles at a time keep the vectors
  // in the first-level cache. Sums of kProductRun products are added one to another, so the error
  // is at most product_error() times the norms.
  void multiply(const float* rows, std::int64_t tiles, float* out) const;

 private:
  const std::int64_t count_;
  const std::int64_t depth_;
  const std::int64_t panels_;
  const Kernel& kernel_;
  AlignedArray<float> packed_;  // [panels, depth, kTileColumns]
};

inline constexpr std::int64_t kProductRun = 128;
// Tiles that are best multiplied at a time.
inline constexpr std::int64_t kProductTiles = 4;

// Packs `count` row-major rows [count, depth] as multiply() wants them, padded with zeros to whole
// tiles.
class PackedRows {
 public:
  PackedRows(std::int64_t depth, const Kernel& kernel);
  // At most kProductTiles * kTileRows rows.
  void pack(const float* rows, std::int64_t count);
  const float* data() const noexcept { return packed_.data(); }
  std::int64_t tiles() const noexcept { return tiles_; }

 private:
  const std::int64_t depth_;
  const Kernel& kernel_;
  std::int64_t tiles_ = 0;
  std::vector<float> packed_, last_;
};
inline constexpr std::int64_t kProductRows = kProductTiles * kTileRows;

// Relative error of such a float32 product: gamma_n = n·u / (1 − n·u), u = 2^-24, with n roundings
// on the way of a product into the sum (Higham, Accuracy and Stability of Numerical Algorithms,
// section 3.1).
double product_error(std::int64_t depth) noexcept;

}  // namespace helip::mining
