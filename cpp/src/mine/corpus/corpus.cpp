#include "mine/corpus/corpus.h"

#include <utility>

#include "io/mapped_files.h"

namespace helip::mining {

Corpus::Corpus(const MatrixView& image, const MatrixView& text, const Rules& rules,
               const Kernel& kernel)
    : rules_(rules), kernel_(kernel), size_(rules.use_image ? image.rows : text.rows) {
  if (rules_.use_image) image_.emplace("image", image, kernel);
  if (rules_.use_text) text_.emplace("text", text, kernel);
}

void Corpus::measure(Team& team, RowLengths known) {
  team.begin_stage("check", size_, size_ * ((image_ ? 1 : 0) + (text_ ? 1 : 0)));
  if (image_) image_->measure(team, std::move(known.image));
  if (text_) text_->measure(team, std::move(known.text));
  team.end_stage();
}

void Corpus::require_whole() const {
  if (image_) helip::require_whole(image_->data());
  if (text_) helip::require_whole(text_->data());
}

bool Corpus::is_zero(std::int64_t row) const {
  return (image_ && image_->length(row) == 0.0) || (text_ && text_->length(row) == 0.0);
}

}  // namespace helip::mining
