// The operands of one block of pairs, as the operators of this library take them.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>

namespace helip {

// One modality. Rows and columns are unit rows as they are multiplied; the margins are those of
// cpp/cuda/product_bound.h, where NaN leaves a row or a column out.
struct ModalityBlock {
  torch::stable::Tensor rows;            // [m, d] float32, float16 or bfloat16
  torch::stable::Tensor columns;         // [n, d], same dtype
  torch::stable::Tensor row_margins;     // float32 [m]
  torch::stable::Tensor column_margins;  // float32 [n]
  double maximum;                        // near-duplicate threshold
};

// With one modality the score is its similarity.
struct ProductBlock {
  std::optional<ModalityBlock> image;
  std::optional<ModalityBlock> text;
  std::int64_t rows;     // m
  std::int64_t columns;  // n

  const ModalityBlock& any() const { return image ? *image : *text; }
};

// One modality as given: all four tensors, or none of them.
struct ModalityArguments {
  std::optional<torch::stable::Tensor> rows, columns, row_margins, column_margins;
  double maximum;
};

// Throws what torch turns into a RuntimeError, naming `op`, when they do not fit each other.
ProductBlock product_block(const char* op, const ModalityArguments& image,
                           const ModalityArguments& text);

bool is_half(torch::headeronly::ScalarType dtype);

}  // namespace helip
