// Checks of what mining is asked, once, at the border.
#pragma once

#include <cstdint>

#include "helip/matrix.h"
#include "helip/mine_options.h"

namespace helip::mining {

// Checks every option and that the matrices fit them and each other. Throws invalid_argument.
// Values are checked later, in the pass that measures the rows.
void validate(const MatrixView& image, const MatrixView& text, const MineOptions& options);

// Number of pairs: rows of the matrices that the modality uses.
std::int64_t row_count(const MatrixView& image, const MatrixView& text,
                       const MineOptions& options) noexcept;

}  // namespace helip::mining
