// The bounds of cpp/cuda/product_bound.h, for whole tensors by ATen operators.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>

#include "../cuda/product_bound.h"

namespace helip {

// Similarities of pairs in one modality and the sum of the margins of their two rows: tensors of
// one shape, float32.
struct Similarities {
  torch::stable::Tensor value;
  torch::stable::Tensor margin;
};

// As product::upper_bound and product::lower_bound; std::nullopt for a modality without a part. An
// upper bound may be NaN where a margin is; a lower bound is 0 there.
torch::stable::Tensor upper_bounds(const product::Rules& rules,
                                   const std::optional<Similarities>& image,
                                   const std::optional<Similarities>& text);
torch::stable::Tensor lower_bounds(const product::Rules& rules,
                                   const std::optional<Similarities>& image,
                                   const std::optional<Similarities>& text);

}  // namespace helip
