#include "product_block.h"

#include <torch/csrc/stable/library.h>

namespace helip {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

bool is_vector(const Tensor& tensor, std::int64_t size) {
  return tensor.dim() == 1 && tensor.size(0) == size && tensor.scalar_type() == ScalarType::Float;
}

std::optional<ModalityBlock> modality(const char* op, const char* name,
                                      const ModalityArguments& given) {
  const bool all = given.rows && given.columns && given.row_margins && given.column_margins;
  if (!given.rows && !given.columns && !given.row_margins && !given.column_margins) {
    return std::nullopt;
  }
  STD_TORCH_CHECK(all, op, ": ", name,
                  " needs rows, columns and the margins of both together, or none of them");
  const Tensor& rows = *given.rows;
  const Tensor& columns = *given.columns;
  STD_TORCH_CHECK(rows.dim() == 2 && columns.dim() == 2 && rows.size(1) == columns.size(1), op,
                  ": ", name, " rows and columns must be matrices of the same width");
  STD_TORCH_CHECK(rows.scalar_type() == columns.scalar_type() &&
                      (rows.scalar_type() == ScalarType::Float || is_half(rows.scalar_type())),
                  op, ": ", name, " rows and columns must both be float32, float16 or bfloat16");
  STD_TORCH_CHECK(is_vector(*given.row_margins, rows.size(0)) &&
                      is_vector(*given.column_margins, columns.size(0)),
                  op, ": ", name, " margins must be float32 vectors, one value for each of the ",
                  rows.size(0), " rows and ", columns.size(0), " columns");
  return ModalityBlock{rows, columns, *given.row_margins, *given.column_margins, given.maximum};
}

}  // namespace

bool is_half(ScalarType dtype) {
  return dtype == ScalarType::Half || dtype == ScalarType::BFloat16;
}

ProductBlock product_block(const char* op, const ModalityArguments& image,
                           const ModalityArguments& text) {
  ProductBlock block{modality(op, "image", image), modality(op, "text", text), 0, 0};
  STD_TORCH_CHECK(block.image || block.text, op, ": give the image, the text, or both");
  block.rows = block.any().rows.size(0);
  block.columns = block.any().columns.size(0);
  if (block.image && block.text) {
    STD_TORCH_CHECK(
        block.text->rows.size(0) == block.rows && block.text->columns.size(0) == block.columns, op,
        ": image has ", block.rows, " rows and ", block.columns, " columns, text has ",
        block.text->rows.size(0), " and ", block.text->columns.size(0));
  }
  return block;
}

}  // namespace helip
