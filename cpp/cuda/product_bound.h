// The arithmetic of one pair in the filter of a device: bounds of its score, and whether it stays.
//
// The same inline functions are compiled into the CUDA kernel, into the emulation of that kernel on
// the host, and into the tests: what the tests prove of them holds for the kernel.
//
// Bound of a similarity
// ---------------------
// x, y are the unit rows in exact arithmetic, x̂, ŷ what a device multiplies (rounded to bfloat16,
// float16 or float32), ρ_x = ‖x - x̂‖ and ρ_y the *measured* norms of what rounding took away, ŝ the
// product as the device accumulates it in float32, over d dimensions. Then, with r_x = x - x̂,
//
//   ⟨x, y⟩ - ⟨x̂, ŷ⟩ = ⟨r_x, y⟩ + ⟨x̂, r_y⟩, in magnitude at most
//   ρ_x ‖y‖ + ‖x̂‖ ρ_y <= ρ_x + (1 + ρ_x) ρ_y = (1 + ρ_x)(1 + ρ_y) - 1                (rounding)
//   |⟨x̂, ŷ⟩ - ŝ| <= g ‖x̂‖ ‖ŷ‖ <= g (1 + ρ_x)(1 + ρ_y),  g = (d + 2) u / (1 - (d + 2) u)   (sum)
//
// for any order of summation (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1);
// u is 2^-24 for float32 and 2^-22 where tensor cores truncate. Because 2 ρ_x ρ_y <= ρ_x² + ρ_y²,
//
//   |s - ŝ| <= (1 + g)(1 + ρ_x)(1 + ρ_y) - 1 <= e_x + e_y,   e_x = (1 + g)(ρ_x + ρ_x²/2) + g/2:
//
// a sum of one **margin a row**, which is all that a tile needs to know. A margin also holds 2^-22
// for the rounding of the float32 arithmetic below (the next paragraph) and is rounded up; the
// caller computes it once a row, in float64. A margin of NaN leaves its row out: all that it
// touches becomes NaN, and every comparison below is false for NaN.
//
// Bounds of a score
// -----------------
// With e = e_x + e_y of each modality, the products below bound the score from both sides. In
// float32, a factor (at most 1.1) takes two roundings and a product one, together at most
// 2.2 · 2^-24 absolute for a factor and 2^-24 relative for the product; the two rows bring
// 8 · 2^-24 absolute for each factor, hence δ = 5.8 · 2^-24 is left, and
// (sᴵ + δ)(sᵀ + δ)(1 - 2^-24) >= sᴵ sᵀ as well as (sᴵ - δ)(sᵀ - δ)(1 + 2^-24) <= sᴵ sᵀ for
// sᴵ, sᵀ in [δ, 1]. Fused multiply-add rounds less and breaks none of this.
#pragma once

#ifdef __CUDACC__
#define HELIP_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define HELIP_HOST_DEVICE inline
#endif

namespace helip::product {

// Passed to kernels by value, so plain data. Thresholds of near duplicates and min_score as float32
// numbers on the safe side; make with rules_of().
struct Rules {
  float image_above, image_below;  // a near duplicate when ŝ - e > above, none when ŝ + e < below
  float text_above, text_below;
  float floor;       // a score must exceed it
  int image, text;   // 1: the modality takes part
  int signed_score;  // 1: two negative similarities multiply to a positive score
};

// ŝ of a pair in one modality, and the sum e of the margins of its two rows.
struct Similarity {
  float value;
  float margin;
};

// x > 0 ? x : 0, and 0 for NaN.
HELIP_HOST_DEVICE float positive(float x) { return x > 0.0F ? x : 0.0F; }
HELIP_HOST_DEVICE float magnitude(float x) { return x < 0.0F ? -x : x; }

HELIP_HOST_DEVICE bool is_duplicate(Similarity s, float above) {
  return s.value - s.margin > above;
}
HELIP_HOST_DEVICE bool is_no_duplicate(Similarity s, float below) {
  return s.value + s.margin < below;
}

// ŝᴵ ŝᵀ and by how much the product may be off: |sᴵsᵀ - ŝᴵŝᵀ| <= eᴵ|ŝᵀ| + eᵀ|ŝᴵ| + eᴵeᵀ.
HELIP_HOST_DEVICE float signed_slack(Similarity image, Similarity text) {
  return image.margin * magnitude(text.value) + text.margin * magnitude(image.value) +
         image.margin * text.margin;
}

HELIP_HOST_DEVICE bool is_duplicate(const Rules& rules, Similarity image, Similarity text) {
  return (rules.image != 0 && is_duplicate(image, rules.image_above)) ||
         (rules.text != 0 && is_duplicate(text, rules.text_above));
}

// An upper bound of the product of the similarities that take part; at most 0 or NaN where the pair
// cannot count. The similarity of a modality that takes no part is not looked at.
HELIP_HOST_DEVICE float product_bound(const Rules& rules, Similarity image, Similarity text) {
  const float from_image = positive(image.value + image.margin);
  const float from_text = positive(text.value + text.margin);
  if (rules.text == 0) return from_image;
  if (rules.image == 0) return from_text;
  if (rules.signed_score == 0) return from_image * from_text;
  return image.value * text.value + signed_slack(image, text);
}

// An upper bound of the score: that of the product, or 0 for a near duplicate beyond doubt.
HELIP_HOST_DEVICE float upper_bound(const Rules& rules, Similarity image, Similarity text) {
  return is_duplicate(rules, image, text) ? 0.0F : product_bound(rules, image, text);
}

// A lower bound of the score; 0 where the pair might be a near duplicate.
HELIP_HOST_DEVICE float lower_bound(const Rules& rules, Similarity image, Similarity text) {
  if (rules.image != 0 && !is_no_duplicate(image, rules.image_below)) return 0.0F;
  if (rules.text != 0 && !is_no_duplicate(text, rules.text_below)) return 0.0F;
  const float from_image = positive(image.value - image.margin);
  const float from_text = positive(text.value - text.margin);
  if (rules.text == 0) return from_image;
  if (rules.image == 0) return from_text;
  if (rules.signed_score == 0) return from_image * from_text;
  return positive(image.value * text.value - signed_slack(image, text));
}

// Whether a pair may belong to the pool of its row or of its column. A threshold is a lower bound
// of the k-th score of that target: what stays below both belongs to neither.
HELIP_HOST_DEVICE bool survives(const Rules& rules, float upper, float row_threshold,
                                float column_threshold) {
  return upper > rules.floor && (upper >= row_threshold || upper >= column_threshold);
}

// The same of a pair; duplicates are looked at last, since few pairs come that far.
HELIP_HOST_DEVICE bool survives(const Rules& rules, Similarity image, Similarity text,
                                float row_threshold, float column_threshold) {
  return survives(rules, product_bound(rules, image, text), row_threshold, column_threshold) &&
         !is_duplicate(rules, image, text);
}

// The rules of a job. image_max, text_max in 0 .. 1, min_score >= 0.
inline Rules rules_of(bool image, bool text, double image_max, double text_max, double min_score,
                      bool signed_score) {
  constexpr float kNever = 3.0e38F;      // no cosine is above 1
  constexpr double kRounding = 0x1p-22;  // of the threshold, and of ŝ ± e
  Rules rules{};
  rules.image = image ? 1 : 0;
  rules.text = text ? 1 : 0;
  rules.signed_score = signed_score ? 1 : 0;
  rules.image_above = image_max >= 1.0 ? kNever : static_cast<float>(image_max + kRounding);
  rules.image_below = image_max >= 1.0 ? kNever : static_cast<float>(image_max - kRounding);
  rules.text_above = text_max >= 1.0 ? kNever : static_cast<float>(text_max + kRounding);
  rules.text_below = text_max >= 1.0 ? kNever : static_cast<float>(text_max - kRounding);
  // Rounded down: a score above min_score is above it.
  const auto nearest = static_cast<float>(min_score);
  const double excess = static_cast<double>(nearest) - min_score;
  rules.floor = excess > 0.0 ? nearest * (1.0F - 0x1p-23F) : nearest;
  return rules;
}

}  // namespace helip::product
