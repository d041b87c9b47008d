// Registers the operators of namespace `helip` with whichever libtorch loads this library.
#include <torch/csrc/stable/library.h>

#include "product_topk.h"

STABLE_TORCH_LIBRARY(helip, library) {
  library.def(
      "product_topk(Tensor? image_rows, Tensor? image_columns, Tensor? image_margin, "
      "Tensor? text_rows, Tensor? text_columns, Tensor? text_margin, "
      "Tensor row_ids, Tensor column_ids, Tensor best_scores, Tensor best_ids, *, "
      "float image_max, float text_max, float min_score, bool signed) "
      "-> (Tensor scores, Tensor ids)");
}

// One implementation for every device: it only calls other operators.
STABLE_TORCH_LIBRARY_IMPL(helip, CompositeExplicitAutograd, library) {
  library.impl("product_topk", TORCH_BOX(&helip::product_topk));
}
