// The kernel of cpp/cuda behind the operator: from tensors to its C interface and back.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <string>

#include "../cuda/product_bound.h"
#include "product_block.h"

namespace helip {

// As helip::product_filter returns them.
struct Survivors {
  torch::stable::Tensor rows;
  torch::stable::Tensor columns;
  torch::stable::Tensor upper;
  torch::stable::Tensor lower;
  torch::stable::Tensor count;
};

// Runs the kernel on CUDA tensors, which needs load_cuda_library() first, and its emulation on CPU
// tensors. The tensors' device must be the current one.
Survivors filter_fused(const ProductBlock& block, const product::Rules& rules,
                       const torch::stable::Tensor& row_thresholds,
                       const torch::stable::Tensor& column_thresholds, int64_t after,
                       int64_t capacity, int64_t stream);

// Registered as helip::load_cuda_library(str path) -> (): opens libhelip_cuda and keeps it open.
// Throws when the loader refuses it or it was made for another version of this library.
void load_cuda_library(std::string path);

}  // namespace helip
