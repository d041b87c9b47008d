#include "mine/corpus/scorer.h"

#include <algorithm>
#include <utility>

namespace helip::mining {

Corpus::Corpus(const MatrixView& image, const MatrixView& text, const Rules& rules,
               const Kernel& kernel)
    : rules_(rules), kernel_(kernel), size_(rules.use_image ? image.rows : text.rows) {
  if (rules_.use_image) image_.emplace("image", image, kernel);
  if (rules_.use_text) text_.emplace("text", text, kernel);
}

void Corpus::measure(Team& team) {
  team.begin_stage("check", size_, size_ * ((image_ ? 1 : 0) + (text_ ? 1 : 0)));
  if (image_) image_->measure(team);
  if (text_) text_->measure(team);
  team.end_stage();
}

bool Corpus::is_zero(std::int64_t row) const {
  return (image_ && image_->length(row) == 0.0) || (text_ && text_->length(row) == 0.0);
}

Scorer::Scorer(const Corpus& corpus) : corpus_(corpus) {}

Similarities Scorer::similarities(std::int64_t target, std::int64_t candidate) {
  // Either may be the row that comes again and again, and is worth keeping.
  if (candidate == loaded_ || (target != loaded_ && candidate == last_candidate_)) {
    std::swap(target, candidate);
  } else {
    last_candidate_ = candidate;
  }
  loaded_ = target;
  Similarities found{1.0, 1.0};
  if (const Rows* rows = corpus_.image()) {
    if (image_.row != target) rows->load(target, image_);
    found.image = rows->cosine(image_, candidate, other_image_);
  }
  if (const Rows* rows = corpus_.text()) {
    if (text_.row != target) rows->load(target, text_);
    found.text = rows->cosine(text_, candidate, other_text_);
  }
  return found;
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

Judged Scorer::judge(std::int64_t target, std::int64_t candidate) {
  const Rules& rules = corpus_.rules();
  Judged judged = mining::judge(rules, similarities(target, candidate));
  if (rules.use_margin && judged.target == Verdict::kept && judged.score > rules.min_score) {
    const double nearest = std::max(cross(target, candidate), cross(candidate, target));
    if (nearest > cross(target, target) - rules.margin) judged.target = Verdict::margin;
    if (nearest > cross(candidate, candidate) - rules.margin) judged.candidate = Verdict::margin;
  }
  return judged;
}

double Scorer::cross(std::int64_t image_row, std::int64_t text_row) {
  const Rows& image = *corpus_.image();
  const Rows& text = *corpus_.text();
  const double lengths = image.length(image_row) * text.length(text_row);
  if (lengths == 0.0) return 0.0;
  wide_image_.resize(static_cast<std::size_t>(image.dimensions()));
  wide_text_.resize(static_cast<std::size_t>(text.dimensions()));
  image.load_wide(image_row, wide_image_.data());
  text.load_wide(text_row, wide_text_.data());
  const double dot =
      corpus_.kernel().dot_double(wide_image_.data(), wide_text_.data(), image.dimensions());
  return std::clamp(dot / lengths, -1.0, 1.0);
}

}  // namespace helip::mining
