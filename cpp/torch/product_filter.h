// The filter of exact mining on a device: of a block of pairs, only those that may still matter.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>

namespace helip {

// Registered as
//
//   helip::product_filter(Tensor? image_rows, Tensor? image_columns,
//                         Tensor? image_row_margins, Tensor? image_column_margins,
//                         Tensor? text_rows, Tensor? text_columns,
//                         Tensor? text_row_margins, Tensor? text_column_margins,
//                         Tensor row_thresholds, Tensor column_thresholds, *,
//                         float image_max, float text_max, float min_score, bool signed,
//                         int after, int capacity, bool fused, int stream)
//       -> (Tensor rows, Tensor columns, Tensor upper, Tensor lower, Tensor count)
//
// The four tensors of a modality are those of ModalityBlock; a modality without them takes no part.
// Of the pairs (row i, column j) with j > i + after (0: the upper triangle of a block against
// itself; -m: all), those survive whose upper bound
//
//   exceeds min_score (>= 0), and reaches row_thresholds[i] or column_thresholds[j].
//
// A threshold (float32 [m], [n]) is a lower bound of the k-th score of that target, so **a pair
// that does not survive belongs neither to the pool of its row nor to that of its column**; the
// bounds and their proof are in cpp/cuda/product_bound.h. Infinity is the threshold of a target
// that looks for nothing.
//
//   rows, columns  int32 [s]    positions in the block, in no particular order
//   upper, lower   float32 [s]  bounds of the score; lower is 0 where the pair might not count
//   count          int64 [1]    number of survivors; the first min(count, capacity) places of the
//                               vectors hold some of them
//
// Where count > capacity, nothing of the result may be used: ask for parts of the block.
//
// fused: false multiplies and compares by ATen operators, with scratch memory of six float32 tiles
// [m, n]; any device, any format; `count` lies on the CPU, and the call waits for it. true runs the
// kernel of cpp/cuda on `stream` (a cudaStream_t) without waiting, or its emulation where the
// tensors lie on the CPU; rows of 16 bits, contiguous, a multiple of 8 wide.
//
// Autocast must be off, and float32 products must be IEEE ones (no TF32): the margins assume it.
std::tuple<torch::stable::Tensor, torch::stable::Tensor, torch::stable::Tensor,
           torch::stable::Tensor, torch::stable::Tensor>
product_filter(std::optional<torch::stable::Tensor> image_rows,
               std::optional<torch::stable::Tensor> image_columns,
               std::optional<torch::stable::Tensor> image_row_margins,
               std::optional<torch::stable::Tensor> image_column_margins,
               std::optional<torch::stable::Tensor> text_rows,
               std::optional<torch::stable::Tensor> text_columns,
               std::optional<torch::stable::Tensor> text_row_margins,
               std::optional<torch::stable::Tensor> text_column_margins,
               torch::stable::Tensor row_thresholds, torch::stable::Tensor column_thresholds,
               double image_max, double text_max, double min_score, bool signed_products,
               int64_t after, int64_t capacity, bool fused, int64_t stream);

// Registered as
//
//   helip::product_seed(<the eight tensors>, *, float image_max, float text_max, bool signed, int
//   k)
//       -> Tensor
//
// float32 [m]: the k-th largest lower bound of the scores of each row with these columns, 0 where
// there are fewer: a first threshold. k >= 1. A row that may be among the columns itself asks for
// k + 1.
torch::stable::Tensor product_seed(std::optional<torch::stable::Tensor> image_rows,
                                   std::optional<torch::stable::Tensor> image_columns,
                                   std::optional<torch::stable::Tensor> image_row_margins,
                                   std::optional<torch::stable::Tensor> image_column_margins,
                                   std::optional<torch::stable::Tensor> text_rows,
                                   std::optional<torch::stable::Tensor> text_columns,
                                   std::optional<torch::stable::Tensor> text_row_margins,
                                   std::optional<torch::stable::Tensor> text_column_margins,
                                   double image_max, double text_max, bool signed_products,
                                   int64_t k);

}  // namespace helip
