// What counts as a hard pair: the options that say so, checked, in the form that scoring needs.
#pragma once

#include <cstdint>

#include "helip/mine.h"

namespace helip::mining {

struct Rules {
  bool use_image = true;
  bool use_text = true;
  bool signed_products = false;
  double image_max = 1.0;  // 1 drops nothing: cosines are limited to [-1, 1]
  double text_max = 1.0;
  double min_score = 0.0;
  bool use_margin = false;
  double margin = 0.0;
};

// Checks every option and that the matrices fit them and each other. Throws invalid_argument.
// Values are checked later, in the pass that measures the rows.
void validate(const MatrixView& image, const MatrixView& text, const MineOptions& options);

// Number of pairs: rows of the matrices that the modality uses.
std::int64_t row_count(const MatrixView& image, const MatrixView& text,
                       const MineOptions& options) noexcept;

Rules rules_of(const MineOptions& options) noexcept;

// options.memory, or a quarter of the physical memory.
std::int64_t memory_budget(const MineOptions& options) noexcept;

}  // namespace helip::mining
