#include "product_topk.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "aten.h"

namespace helip {
namespace {

using aten::ScalarType;
using torch::stable::Tensor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Modality {
  const char* name;
  Tensor rows;     // [m, d]
  Tensor columns;  // [n, d]
  Tensor margin;   // float32 [n]
  double maximum;  // near-duplicate threshold
};

bool is_half(ScalarType dtype) {
  return dtype == ScalarType::Half || dtype == ScalarType::BFloat16;
}

std::optional<Modality> modality(const char* name, const std::optional<Tensor>& rows,
                                 const std::optional<Tensor>& columns,
                                 const std::optional<Tensor>& margin, double maximum, int64_t m,
                                 int64_t n) {
  if (!rows && !columns && !margin) return std::nullopt;
  STD_TORCH_CHECK(rows && columns && margin, "helip::product_topk: ", name,
                  " needs rows, columns and margin together, or none of them");
  STD_TORCH_CHECK(rows->dim() == 2 && columns->dim() == 2 && rows->size(1) == columns->size(1),
                  "helip::product_topk: ", name,
                  " rows and columns must be matrices of the same width");
  STD_TORCH_CHECK(
      rows->size(0) == m && columns->size(0) == n && margin->dim() == 1 && margin->size(0) == n,
      "helip::product_topk: ", name, " has ", rows->size(0), " rows and ", columns->size(0),
      " columns where the ids say ", m, " and ", n, "; margin must hold one value a column");
  STD_TORCH_CHECK(rows->scalar_type() == columns->scalar_type() &&
                      (rows->scalar_type() == ScalarType::Float || is_half(rows->scalar_type())),
                  "helip::product_topk: ", name,
                  " rows and columns must both be float32, float16 or bfloat16");
  STD_TORCH_CHECK(margin->scalar_type() == ScalarType::Float, "helip::product_topk: ", name,
                  " margin must be float32");
  return Modality{name, *rows, *columns, *margin, maximum};
}

// ŝ [m, n] float32.
Tensor similarity(const Modality& x) {
  const Tensor columns = torch::stable::transpose(x.columns, 0, 1);
  if (!is_half(x.rows.scalar_type())) return torch::stable::matmul(x.rows, columns);
  if (x.rows.is_cuda()) {
    // A 16-bit result would round the sum once more, by far more than the sum's own error.
    return aten::call("aten::mm", "dtype", x.rows, columns, ScalarType::Float);
  }
  return torch::stable::matmul(torch::stable::to(x.rows, ScalarType::Float),
                               torch::stable::to(columns, ScalarType::Float));
}

// ŝ + margin [m, n] float32.
Tensor raised_similarity(const Modality& x) {
  if (is_half(x.rows.scalar_type())) {
    return torch::stable::subtract(similarity(x), x.margin, -1.0);
  }
  // As a bias, the margin costs no pass of its own over the tile.
  return aten::call("aten::linear", "", x.rows, x.columns, std::optional<Tensor>(x.margin));
}

// Writes `value` where `similarity` exceeds the threshold by more than `margins` times the margin.
void mask_duplicates(Tensor& similarity, const Modality& x, double margins, float value) {
  if (x.maximum >= 1.0) return;  // no cosine is above 1
  // Two units in the last place, for the rounding of the threshold itself.
  const Tensor threshold = aten::number(x.maximum + 2.4e-7, ScalarType::Float);
  const Tensor limit = torch::stable::subtract(threshold, x.margin, -margins);  // [n]
  const Tensor mask = aten::call("aten::gt", "Tensor", similarity, limit);
  aten::call("aten::masked_fill_", "Tensor", similarity, mask,
             aten::number(value, ScalarType::Float));
}

// max(0, ŝ + e), and 0 for a near duplicate.
Tensor factor(const Modality& x) {
  Tensor raised = raised_similarity(x);
  mask_duplicates(raised, x, 2.0, 0.0F);
  aten::call("aten::relu_", "", raised);
  return raised;
}

// |ŝ| + e
Tensor magnitude(Tensor similarity, const Modality& x) {
  aten::call("aten::abs_", "", similarity);
  return torch::stable::subtract(similarity, x.margin, -1.0);
}

Tensor signed_product(const Modality& image, const Modality& text) {
  // Zero would not do as a mark: the other factor's margin would lift it again.
  const float mark = std::numeric_limits<float>::quiet_NaN();
  Tensor s = similarity(image);
  mask_duplicates(s, image, 1.0, mark);
  Tensor t = similarity(text);
  mask_duplicates(t, text, 1.0, mark);
  Tensor opposed = aten::call("aten::mul", "Tensor", s, t);
  aten::call("aten::neg_", "", opposed);
  aten::call("aten::relu_", "", opposed);  // max(0, -ŝᴵ ŝᵀ)
  Tensor product = magnitude(std::move(s), image);
  {
    const Tensor other = magnitude(std::move(t), text);
    aten::call("aten::mul_", "Tensor", product, other);
  }
  return torch::stable::subtract(product, opposed, 2.0);
}

// Upper bounds of the scores of the tile: float32 [m, n], no NaN, at most 0 for an excluded pair.
Tensor tile_scores(const std::optional<Modality>& image, const std::optional<Modality>& text,
                   bool signed_products) {
  Tensor scores = [&] {
    if (!image || !text) return factor(image ? *image : *text);
    if (signed_products) return signed_product(*image, *text);
    Tensor product = factor(*image);
    const Tensor other = factor(*text);
    aten::call("aten::mul_", "Tensor", product, other);
    return product;
  }();
  // topk would rank NaN first.
  const std::optional<double> zero = 0.0;
  aten::call("aten::nan_to_num_", "", scores, zero, zero, zero);
  return scores;
}

}  // namespace

std::tuple<Tensor, Tensor> product_topk(
    std::optional<Tensor> image_rows, std::optional<Tensor> image_columns,
    std::optional<Tensor> image_margin, std::optional<Tensor> text_rows,
    std::optional<Tensor> text_columns, std::optional<Tensor> text_margin, Tensor row_ids,
    Tensor column_ids, Tensor best_scores, Tensor best_ids, double image_max, double text_max,
    double min_score, bool signed_products) {
  STD_TORCH_CHECK(row_ids.dim() == 1 && column_ids.dim() == 1 &&
                      row_ids.scalar_type() == ScalarType::Long &&
                      column_ids.scalar_type() == ScalarType::Long,
                  "helip::product_topk: row_ids and column_ids must be int64 vectors");
  const int64_t m = row_ids.size(0);
  const int64_t n = column_ids.size(0);
  STD_TORCH_CHECK(best_scores.dim() == 2 && best_ids.dim() == 2 && best_scores.size(0) == m &&
                      best_ids.size(0) == m && best_scores.size(1) == best_ids.size(1) &&
                      best_scores.size(1) >= 1 && best_scores.scalar_type() == ScalarType::Float &&
                      best_ids.scalar_type() == ScalarType::Long,
                  "helip::product_topk: best_scores float32 and best_ids int64 must be [", m,
                  ", c] with c >= 1");
  STD_TORCH_CHECK(min_score >= 0.0, "helip::product_topk: min_score is ", min_score,
                  "; it must be at least 0");
  const auto image = modality("image", image_rows, image_columns, image_margin, image_max, m, n);
  const auto text = modality("text", text_rows, text_columns, text_margin, text_max, m, n);
  STD_TORCH_CHECK(image || text, "helip::product_topk: give the image, the text, or both");
  const int64_t c = best_scores.size(1);
  if (m == 0 || n == 0) {
    return {torch::stable::clone(best_scores), torch::stable::clone(best_ids)};
  }

  // One more than needed: a target may find itself once, and is cheaper dropped here than masked
  // in the whole tile.
  auto [scores, positions] = [&] {
    const Tensor tile = tile_scores(image, text, signed_products);
    return aten::topk(tile, std::min(c + 1, n), false);
  }();
  Tensor ids = aten::call("aten::take", "", column_ids, positions);

  float floor = static_cast<float>(min_score);
  if (floor > min_score) floor = std::nextafter(floor, -kInfinity);
  Tensor drop = aten::call("aten::le", "Tensor", scores, aten::number(floor, ScalarType::Float));
  const Tensor self = aten::call("aten::eq", "Tensor", ids, torch::stable::unsqueeze(row_ids, 1));
  aten::call("aten::logical_or_", "", drop, self);
  aten::call("aten::masked_fill_", "Tensor", scores, drop,
             aten::number(-kInfinity, ScalarType::Float));
  aten::call("aten::masked_fill_", "Tensor", ids, drop, aten::number(-1.0, ScalarType::Long));

  scores = aten::call("aten::cat", "", std::vector<Tensor>{best_scores, scores}, int64_t{1});
  ids = aten::call("aten::cat", "", std::vector<Tensor>{best_ids, ids}, int64_t{1});
  auto [merged, places] = aten::topk(scores, c, true);
  return {merged, aten::call("aten::gather", "", ids, int64_t{1}, places, false)};
}

}  // namespace helip
