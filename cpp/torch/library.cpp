// Registers the operators of namespace `helip` with whichever libtorch loads this library.
#include <torch/csrc/stable/library.h>

#include "fused_filter.h"
#include "product_filter.h"

#define HELIP_BLOCK                                                         \
  "Tensor? image_rows, Tensor? image_columns, Tensor? image_row_margins, "  \
  "Tensor? image_column_margins, Tensor? text_rows, Tensor? text_columns, " \
  "Tensor? text_row_margins, Tensor? text_column_margins"

STABLE_TORCH_LIBRARY(helip, library) {
  library.def(
      "product_filter(" HELIP_BLOCK
      ", Tensor row_thresholds, Tensor column_thresholds, *, float image_max, float text_max, "
      "float min_score, bool signed, int after, int capacity, bool fused, int stream) "
      "-> (Tensor rows, Tensor columns, Tensor upper, Tensor lower, Tensor count)");
  library.def("product_seed(" HELIP_BLOCK
              ", *, float image_max, float text_max, bool signed, int k) -> Tensor");
  library.def("load_cuda_library(str path) -> ()");
}

// One implementation for every device: where it is not by other operators, it looks itself.
STABLE_TORCH_LIBRARY_IMPL(helip, CompositeExplicitAutograd, library) {
  library.impl("product_filter", TORCH_BOX(&helip::product_filter));
  library.impl("product_seed", TORCH_BOX(&helip::product_seed));
  library.impl("load_cuda_library", TORCH_BOX(&helip::load_cuda_library));
}
