#include "mine/corpus/rules.h"

namespace helip::mining {

Rules rules_of(const MineOptions& options) noexcept {
  Rules rules;
  rules.use_image = options.modality != Modality::text;
  rules.use_text = options.modality != Modality::image;
  rules.signed_products = options.signed_products;
  if (rules.use_image) rules.image_max = options.image_max;
  if (rules.use_text) rules.text_max = options.text_max;
  rules.min_score = options.min_score;
  rules.use_margin = options.margin.has_value();
  rules.margin = options.margin.value_or(0.0);
  return rules;
}

Judged judge(const Rules& rules, const Similarities& found) noexcept {
  const auto [image, text] = found;
  const bool clamped = !rules.signed_products && (image < 0.0 || text < 0.0);
  Judged judged{clamped ? 0.0 : image * text, Verdict::kept, Verdict::kept};
  if (image > rules.image_max) {
    judged.target = judged.candidate = Verdict::image_duplicate;
  } else if (text > rules.text_max) {
    judged.target = judged.candidate = Verdict::text_duplicate;
  }
  return judged;
}

}  // namespace helip::mining
