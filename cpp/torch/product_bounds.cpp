#include "product_bounds.h"

#include "aten.h"

namespace helip {
namespace {

using aten::ScalarType;
using torch::stable::Tensor;

Tensor plus(const Tensor& a, const Tensor& b) { return torch::stable::subtract(a, b, -1.0); }

Tensor raised(const Similarities& s) { return plus(s.value, s.margin); }
Tensor lowered(const Similarities& s) { return torch::stable::subtract(s.value, s.margin); }

// max(0, x), in place; NaN stays NaN.
Tensor positive(Tensor x) {
  aten::call("aten::relu_", "", x);
  return x;
}

Tensor product(const Tensor& a, const Tensor& b) { return aten::call("aten::mul", "Tensor", a, b); }

Tensor magnitude(const Similarities& s) {
  return plus(aten::call("aten::abs", "", s.value), s.margin);
}

void clear_where(Tensor& bounds, const Tensor& mask) {
  aten::call("aten::masked_fill_", "Tensor", bounds, mask, aten::number(0.0, ScalarType::Float));
}

// Clears the pairs that are near duplicates beyond doubt.
void clear_duplicates(Tensor& bounds, const std::optional<Similarities>& s, float above) {
  if (!s || above > 1.5F) return;  // no cosine is above 1
  const Tensor limit = aten::number(above, ScalarType::Float);
  clear_where(bounds, aten::call("aten::gt", "Tensor", lowered(*s), limit));
}

// Clears the pairs that might be near duplicates.
void clear_doubtful(Tensor& bounds, const std::optional<Similarities>& s, float below) {
  if (!s || below > 1.5F) return;
  const Tensor limit = aten::number(below, ScalarType::Float);
  clear_where(bounds, aten::call("aten::ge", "Tensor", raised(*s), limit));
}

// Both bounds of a signed product: (|ŝᴵ| + eᴵ)(|ŝᵀ| + eᵀ) - |ŝᴵŝᵀ| is how far it may be off, hence
//   upper = (|ŝᴵ| + eᴵ)(|ŝᵀ| + eᵀ) - 2 max(0, -ŝᴵŝᵀ)
//   lower = 2 max(0, ŝᴵŝᵀ) - (|ŝᴵ| + eᴵ)(|ŝᵀ| + eᵀ)
Tensor signed_upper(const Similarities& image, const Similarities& text) {
  Tensor opposed = product(image.value, text.value);
  aten::call("aten::neg_", "", opposed);
  opposed = positive(opposed);
  return torch::stable::subtract(product(magnitude(image), magnitude(text)), opposed, 2.0);
}

Tensor signed_lower(const Similarities& image, const Similarities& text) {
  const Tensor agreed = positive(product(image.value, text.value));
  const Tensor widest = product(magnitude(image), magnitude(text));
  return positive(torch::stable::subtract(plus(agreed, agreed), widest));
}

template <class Factor>
Tensor unsigned_bound(const std::optional<Similarities>& image,
                      const std::optional<Similarities>& text, const Factor& factor) {
  if (!image || !text) return positive(factor(image ? *image : *text));
  Tensor bound = positive(factor(*image));
  const Tensor other = positive(factor(*text));
  aten::call("aten::mul_", "Tensor", bound, other);
  return bound;
}

}  // namespace

Tensor upper_bounds(const product::Rules& rules, const std::optional<Similarities>& image,
                    const std::optional<Similarities>& text) {
  const bool is_signed = rules.signed_score != 0 && image && text;
  Tensor bounds = is_signed ? signed_upper(*image, *text) : unsigned_bound(image, text, raised);
  clear_duplicates(bounds, image, rules.image_above);
  clear_duplicates(bounds, text, rules.text_above);
  return bounds;
}

Tensor lower_bounds(const product::Rules& rules, const std::optional<Similarities>& image,
                    const std::optional<Similarities>& text) {
  const bool is_signed = rules.signed_score != 0 && image && text;
  Tensor bounds = is_signed ? signed_lower(*image, *text) : unsigned_bound(image, text, lowered);
  clear_doubtful(bounds, image, rules.image_below);
  clear_doubtful(bounds, text, rules.text_below);
  const std::optional<double> zero = 0.0;
  aten::call("aten::nan_to_num_", "", bounds, zero, zero, zero);
  return bounds;
}

}  // namespace helip
