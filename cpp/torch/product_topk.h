// One step of tiled hard pair mining on any device: score a tile, merge it into the running best.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <tuple>

namespace helip {

// Registered as
//
//   helip::product_topk(Tensor? image_rows, Tensor? image_columns, Tensor? image_margin,
//                       Tensor? text_rows, Tensor? text_columns, Tensor? text_margin,
//                       Tensor row_ids, Tensor column_ids,
//                       Tensor best_scores, Tensor best_ids, *,
//                       float image_max, float text_max, float min_score, bool signed)
//       -> (Tensor scores, Tensor ids)
//
// A modality takes part when its three tensors are given; with one modality its similarity is the
// score (IM, TM). Per modality, with ŝ = ⟨row, column⟩ accumulated in float32:
//
//   rows     [m, d]  unit rows of the targets, float32, float16 or bfloat16
//   columns  [n, d]  unit rows of the candidates, same dtype
//   margin   [n]     float32, a bound of |s - ŝ| for every target of the step and this candidate,
//                    where s is the similarity of the unrounded rows (the caller proves it)
//
//   row_ids     int64 [m]     ids of the targets
//   column_ids  int64 [n]     ids of the candidates, each at most once
//   best_scores float32 [m, c], best_ids int64 [m, c]: what earlier steps kept; a free place holds
//                             -inf and -1. c >= 1.
//
// Returns the c largest of both, same layout, scores falling. Inputs are not changed.
//
// `scores` are not the scores of the table but *upper bounds* of them, so that no error of a short
// format can lose a pair: with margins e,
//
//   both      max(0, ŝᴵ + eᴵ) · max(0, ŝᵀ + eᵀ)
//   signed    (|ŝᴵ| + eᴵ) · (|ŝᵀ| + eᵀ) - 2 max(0, -ŝᴵ ŝᵀ)
//   single    max(0, ŝ + e)
//
// A pair is left out when it is the target itself, when it is a near duplicate beyond doubt
// (ŝ - e > max), when its upper bound does not exceed min_score (>= 0), or when NaN comes out.
// Every other pair is kept while there is room, hence: **each pair outside the result has a true
// score of at most scores[:, c - 1]**, and none exists when that is -inf. An exact rerank of `ids`
// whose k-th score is above this bound is complete.
//
// Device: that of the inputs, all on one; CPU and CUDA run the same code but for the 16-bit
// product, which CUDA multiplies as such (aten::mm.dtype) and others after a cast to float32.
// Scratch memory: three tiles of m·n float32 (four if signed), m·n bytes, and O(m·c).
// Not differentiable. Autocast must be off, and float32 products must be IEEE ones (no TF32):
// the margins assume it. Work is queued on the current stream and nothing waits for it.
std::tuple<torch::stable::Tensor, torch::stable::Tensor> product_topk(
    std::optional<torch::stable::Tensor> image_rows,
    std::optional<torch::stable::Tensor> image_columns,
    std::optional<torch::stable::Tensor> image_margin,
    std::optional<torch::stable::Tensor> text_rows,
    std::optional<torch::stable::Tensor> text_columns,
    std::optional<torch::stable::Tensor> text_margin, torch::stable::Tensor row_ids,
    torch::stable::Tensor column_ids, torch::stable::Tensor best_scores,
    torch::stable::Tensor best_ids, double image_max, double text_max, double min_score,
    bool signed_products);

}  // namespace helip
