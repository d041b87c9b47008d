// Approximate similarities of tiles, with a bound on their error: what proposes candidates to the
// exact scorer. Another number format or a pruned product is another Filter; whatever it does, the
// pools end up the same as long as its bounds hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "scorer.h"

namespace helip::mining {

// Rows of the corpus in some order: a run of them, or those of a list.
struct RowList {
  const std::uint32_t* ids = nullptr;  // [size], or nullptr for first, first + 1, ...
  std::int64_t first = 0;
  std::int64_t size = 0;

  std::int64_t operator[](std::int64_t i) const { return ids != nullptr ? ids[i] : first + i; }
};

// Stateless apart from the corpus; safe to share between threads.
class Filter {
 public:
  virtual ~Filter() = default;

  // Floats that one packed panel takes, a multiple of 16.
  virtual std::int64_t row_panel_size() const = 0;
  virtual std::int64_t column_panel_size() const = 0;
  // Packs rows [first, first + kTileRows) or columns [first, first + kTileColumns) of `list`;
  // what lies beyond its end is packed as zeros.
  virtual void pack_rows(const RowList& list, std::int64_t first, float* panel) const = 0;
  virtual void pack_columns(const RowList& list, std::int64_t first, float* panel) const = 0;
  // image, text [kTileRows, kTileColumns], 64-byte aligned. A modality that is not used gives 1.
  virtual void similarities(const float* rows, const float* columns, float* image,
                            float* text) const = 0;
  // |similarity - cosine in float64| is at most this, for every pair.
  virtual double image_error() const = 0;
  virtual double text_error() const = 0;
};

// Float32 products of unit vectors.
std::unique_ptr<Filter> make_float32_filter(const Corpus& corpus);

// Largest error of a float32 dot product of d dimensions between unit vectors that were rounded
// to float32, summed one after the other: (gamma_d + 2u + u²)(1 + u)²,
// gamma_d = d·u / (1 − d·u), u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms,
// section 3.1).
double float32_error(std::int64_t dimensions) noexcept;

}  // namespace helip::mining
