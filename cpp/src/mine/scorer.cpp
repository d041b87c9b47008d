#include "scorer.h"

#include <algorithm>

namespace helip::mining {

Corpus::Corpus(const MatrixView& image, const MatrixView& text, const MineOptions& options,
               const Kernel& kernel)
    : rules_(rules_of(options)), kernel_(kernel), size_(row_count(image, text, options)) {
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

void write_pool(std::vector<Scored>& pool, HardPairBand& band, std::int64_t row) {
  const auto kept =
      static_cast<std::size_t>(std::min(band.k, static_cast<std::int64_t>(pool.size())));
  std::partial_sort(pool.begin(), pool.begin() + static_cast<std::ptrdiff_t>(kept), pool.end(),
                    ranks_before);
  const auto place = static_cast<std::size_t>(row * band.k);
  for (std::size_t rank = 0; rank < kept; ++rank) {
    band.ids[place + rank] = pool[rank].id;
    band.scores[place + rank] = static_cast<float>(pool[rank].score);
  }
  band.counts[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(kept);
}

Scorer::Scorer(const Corpus& corpus)
    : corpus_(corpus),
      image_scratch_(corpus.image_dimensions()),
      text_scratch_(corpus.text_dimensions()),
      image_(static_cast<std::size_t>(corpus.image_dimensions())),
      text_(static_cast<std::size_t>(corpus.text_dimensions())) {}

void Scorer::set_target(std::int64_t target) {
  if (target == target_) return;
  target_ = target;
  if (const Rows* image = corpus_.image()) {
    image->load(target, image_.data(), image_scratch_);
    image_length_ = image->length(target);
  }
  if (const Rows* text = corpus_.text()) {
    text->load(target, text_.data(), text_scratch_);
    text_length_ = text->length(target);
  }
}

std::optional<double> Scorer::score(std::int64_t candidate, DropCounts* counts) {
  const Rules& rules = corpus_.rules();
  DropCounts unused;
  DropCounts& drops = counts != nullptr ? *counts : unused;
  ++drops.scored;

  double image = 1.0;
  if (const Rows* rows = corpus_.image()) {
    image = rows->cosine(image_.data(), image_length_, candidate, image_scratch_);
    if (image > rules.image_max) {
      ++drops.image_duplicate;
      return std::nullopt;
    }
  }
  double text = 1.0;
  if (const Rows* rows = corpus_.text()) {
    text = rows->cosine(text_.data(), text_length_, candidate, text_scratch_);
    if (text > rules.text_max) {
      ++drops.text_duplicate;
      return std::nullopt;
    }
  }
  const double product = image * text;
  const bool clamped = !rules.signed_products && (image < 0.0 || text < 0.0);
  if (clamped || product <= 0.0) {
    ++drops.nonpositive;
    return std::nullopt;
  }
  if (product <= rules.min_score) {
    ++drops.below_min_score;
    return std::nullopt;
  }
  return product;
}

}  // namespace helip::mining
