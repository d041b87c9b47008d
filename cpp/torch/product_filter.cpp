#include "product_filter.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "aten.h"
#include "fused_filter.h"
#include "product_block.h"
#include "product_bounds.h"

namespace helip {
namespace {

using aten::ScalarType;
using product::Rules;
using torch::stable::Tensor;

constexpr const char* kFilter = "helip::product_filter";
constexpr const char* kSeed = "helip::product_seed";

// ŝ [m, n] float32.
Tensor products(const ModalityBlock& block) {
  const Tensor columns = torch::stable::transpose(block.columns, 0, 1);
  if (!is_half(block.rows.scalar_type())) return torch::stable::matmul(block.rows, columns);
  if (block.rows.is_cuda()) {
    // A 16-bit result would round the sum once more, by far more than the sum's own error.
    return aten::call("aten::mm", "dtype", block.rows, columns, ScalarType::Float);
  }
  return torch::stable::matmul(torch::stable::to(block.rows, ScalarType::Float),
                               torch::stable::to(columns, ScalarType::Float));
}

// Of every pair of the block, [m, n].
std::optional<Similarities> similarities(const std::optional<ModalityBlock>& block) {
  if (!block) return std::nullopt;
  const Tensor row_margins = torch::stable::unsqueeze(block->row_margins, 1);
  return Similarities{products(*block),
                      torch::stable::subtract(row_margins, block->column_margins, -1.0)};
}

// Of the pairs at the places `flat` of the tile, [s].
std::optional<Similarities> taken(const std::optional<Similarities>& tile, const Tensor& flat) {
  if (!tile) return std::nullopt;
  return Similarities{aten::call("aten::take", "", tile->value, flat),
                      aten::call("aten::take", "", tile->margin, flat)};
}

// The least float32 number above the floor, or the threshold if that is higher.
Tensor limits(const Tensor& thresholds, float floor) {
  const float least = std::nextafter(floor, std::numeric_limits<float>::infinity());
  return aten::call("aten::maximum", "", thresholds, aten::number(least, ScalarType::Float));
}

Survivors filter_by_operators(const ProductBlock& block, const Rules& rules,
                              const Tensor& row_thresholds, const Tensor& column_thresholds,
                              int64_t after, int64_t capacity) {
  const auto image = similarities(block.image);
  const auto text = similarities(block.text);
  Tensor upper = upper_bounds(rules, image, text);
  if (after >= 1 - block.rows) aten::call("aten::triu_", "", upper, after + 1);
  const Tensor limit = aten::call("aten::minimum", "",
                                  torch::stable::unsqueeze(limits(row_thresholds, rules.floor), 1),
                                  limits(column_thresholds, rules.floor));
  const Tensor mask = aten::call("aten::ge", "Tensor", upper, limit);
  Tensor flat = aten::call("aten::nonzero", "", torch::stable::reshape(mask, {-1}));
  const int64_t count = flat.size(0);
  flat = torch::stable::reshape(flat, {-1});
  flat = torch::stable::narrow(flat, 0, 0, std::min(count, capacity));

  const Tensor width = aten::number(static_cast<double>(block.columns), ScalarType::Long);
  const Tensor rows = aten::call("aten::floor_divide", "", flat, width);
  const Tensor columns = aten::call("aten::remainder", "Tensor", flat, width);
  return {torch::stable::to(rows, ScalarType::Int), torch::stable::to(columns, ScalarType::Int),
          aten::call("aten::take", "", upper, flat),
          lower_bounds(rules, taken(image, flat), taken(text, flat)),
          torch::stable::full({1}, static_cast<double>(count), ScalarType::Long)};
}

void check_thresholds(const char* name, const Tensor& thresholds, int64_t size) {
  STD_TORCH_CHECK(thresholds.dim() == 1 && thresholds.size(0) == size &&
                      thresholds.scalar_type() == ScalarType::Float,
                  kFilter, ": ", name, " must be a float32 vector of ", size, " values");
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> product_filter(
    std::optional<Tensor> image_rows, std::optional<Tensor> image_columns,
    std::optional<Tensor> image_row_margins, std::optional<Tensor> image_column_margins,
    std::optional<Tensor> text_rows, std::optional<Tensor> text_columns,
    std::optional<Tensor> text_row_margins, std::optional<Tensor> text_column_margins,
    Tensor row_thresholds, Tensor column_thresholds, double image_max, double text_max,
    double min_score, bool signed_products, int64_t after, int64_t capacity, bool fused,
    int64_t stream) {
  const ProductBlock block = product_block(
      kFilter, {image_rows, image_columns, image_row_margins, image_column_margins, image_max},
      {text_rows, text_columns, text_row_margins, text_column_margins, text_max});
  check_thresholds("row_thresholds", row_thresholds, block.rows);
  check_thresholds("column_thresholds", column_thresholds, block.columns);
  STD_TORCH_CHECK(min_score >= 0.0, kFilter, ": min_score is ", min_score,
                  "; it must be at least 0");
  STD_TORCH_CHECK(capacity >= 0, kFilter, ": capacity is ", capacity, "; it must be at least 0");
  const Rules rules = product::rules_of(block.image.has_value(), block.text.has_value(), image_max,
                                        text_max, min_score, signed_products);
  const Survivors found =
      fused ? filter_fused(block, rules, row_thresholds, column_thresholds, after, capacity, stream)
            : filter_by_operators(block, rules, row_thresholds, column_thresholds, after, capacity);
  return {found.rows, found.columns, found.upper, found.lower, found.count};
}

Tensor product_seed(std::optional<Tensor> image_rows, std::optional<Tensor> image_columns,
                    std::optional<Tensor> image_row_margins,
                    std::optional<Tensor> image_column_margins, std::optional<Tensor> text_rows,
                    std::optional<Tensor> text_columns, std::optional<Tensor> text_row_margins,
                    std::optional<Tensor> text_column_margins, double image_max, double text_max,
                    bool signed_products, int64_t k) {
  const ProductBlock block = product_block(
      kSeed, {image_rows, image_columns, image_row_margins, image_column_margins, image_max},
      {text_rows, text_columns, text_row_margins, text_column_margins, text_max});
  STD_TORCH_CHECK(k >= 1, kSeed, ": k is ", k, "; it must be at least 1");
  if (k > block.columns) {
    return torch::stable::new_zeros(block.any().row_margins, {block.rows});
  }
  const Rules rules = product::rules_of(block.image.has_value(), block.text.has_value(), image_max,
                                        text_max, 0.0, signed_products);
  const Tensor lower = lower_bounds(rules, similarities(block.image), similarities(block.text));
  const Tensor best = aten::topk(lower, k, true).first;
  return torch::stable::contiguous(torch::stable::select(best, 1, k - 1));
}

}  // namespace helip
