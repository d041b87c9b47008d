// The rows that are mined, and the rules that say which pairs of them are hard.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/team.h"
#include "helip/matrix.h"
#include "mine/corpus/rows.h"
#include "mine/corpus/rules.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

// Of the rows of each modality, see Rows::measure().
struct RowLengths {
  std::vector<double> image, text;
};

// What mining reads: the rules and the rows of the modalities that they use. Immutable once
// measured; safe to share between threads.
class Corpus {
 public:
  Corpus(const MatrixView& image, const MatrixView& text, const Rules& rules, const Kernel& kernel);

  // Measures the rows of both modalities, but for those that are known, in stage "check".
  void measure(Team& team, RowLengths known = {});

  // Throws corrupt where a file of the rows became shorter while they were read.
  void require_whole() const;

  std::int64_t size() const noexcept { return size_; }
  const Rules& rules() const noexcept { return rules_; }
  const Kernel& kernel() const noexcept { return kernel_; }
  const Rows* image() const noexcept { return image_ ? &*image_ : nullptr; }  // nullptr: not used
  const Rows* text() const noexcept { return text_ ? &*text_ : nullptr; }
  std::int64_t image_dimensions() const noexcept { return image_ ? image_->dimensions() : 0; }
  std::int64_t text_dimensions() const noexcept { return text_ ? text_->dimensions() : 0; }
  std::int64_t dimensions() const noexcept { return image_dimensions() + text_dimensions(); }
  // Whether a modality that is used has no direction for this row: it scores 0 with every other.
  bool is_zero(std::int64_t row) const;

 private:
  const Rules rules_;
  const Kernel& kernel_;
  const std::int64_t size_;
  std::optional<Rows> image_;
  std::optional<Rows> text_;
};

}  // namespace helip::mining
