// A small table of hard pairs.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "helip/hard_pairs.h"

namespace helip {

struct SampleTable {
  std::int64_t k = 2;
  std::vector<std::int64_t> ids{1, 2, 0, -1, 0, 1, -1, -1};
  std::vector<float> scores{.9F, .8F, .9F, 0, .8F, .5F, 0, 0};
  std::vector<std::int32_t> counts{2, 1, 2, 0};

  HardPairs make(HardPairs::Origin origin = {}) const {
    const auto rows = static_cast<std::int64_t>(counts.size());
    return HardPairs::from_arrays(MatrixView::of(ids.data(), rows, k),
                                  MatrixView::of(scores.data(), rows, k),
                                  MatrixView::of(counts.data(), rows, 1), std::move(origin));
  }
};

}  // namespace helip
