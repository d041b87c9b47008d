// What the host keeps of a filter's survivors: a bounded list of candidates for each target.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace helip {

// The lists of targets first .. first + n - 1, all on the CPU, contiguous:
//
//   ids         int32 [n, c]    candidates, in the first counts[i] places, no id twice
//   upper       float32 [n, c]  bounds of their scores
//   lower       float32 [n, c]
//   counts      int32 [n]
//   thresholds  float32 [n]     a lower bound of the k-th score; infinity: the target takes nothing
//
// A candidate whose upper bound is below the threshold cannot be in the pool and is not kept. When
// a list is full, the threshold rises to the k-th largest lower bound and the list is cut by it.
//
// Registered as
//
//   helip::pool_offer(Tensor(a!) ids, Tensor(b!) upper, Tensor(c!) lower, Tensor(d!) counts,
//                     Tensor(e!) thresholds, Tensor rows, Tensor columns, Tensor row_upper,
//                     Tensor row_lower, *, int k, int first, int row_first, int column_first,
//                     int position) -> int
//
// Offers survivors as helip::product_filter gives them, to their rows and to their columns where
// these are among the targets; row_first and column_first are the ids of the block's first row and
// column. Offer 2s is that of survivor s to its row, 2s + 1 to its column; offering starts at
// `position` and ends at the result: 2 · rows.size(0), or the number of an offer that found its
// list full of candidates that the bounds cannot tell apart. Make room there and call again from
// that position. The lists must not change meanwhile.
int64_t pool_offer(torch::stable::Tensor ids, torch::stable::Tensor upper,
                   torch::stable::Tensor lower, torch::stable::Tensor counts,
                   torch::stable::Tensor thresholds, torch::stable::Tensor rows,
                   torch::stable::Tensor columns, torch::stable::Tensor survivor_upper,
                   torch::stable::Tensor survivor_lower, int64_t k, int64_t first,
                   int64_t row_first, int64_t column_first, int64_t position);

// Registered as helip::pool_trim(<the five tensors>, *, int k, int begin, int end) -> (): raises
// the thresholds of targets begin .. end - 1 (places, not ids) and cuts their lists by them.
void pool_trim(torch::stable::Tensor ids, torch::stable::Tensor upper, torch::stable::Tensor lower,
               torch::stable::Tensor counts, torch::stable::Tensor thresholds, int64_t k,
               int64_t begin, int64_t end);

}  // namespace helip
