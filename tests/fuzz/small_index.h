// An index of pairs that is small enough to be changed at random, and what a search in it promises.
#pragma once

#include "fuzz.h"
#include "helip/pair_index.h"
#include "support/mine_reference.h"

namespace helip::fuzz {

inline constexpr std::int64_t kDimensions = 8;  // of images; of texts half as many

inline testing::Data small_data(std::int64_t rows) {
  return testing::clustered_data(rows, kDimensions, kDimensions / 2);
}

inline PairIndex small_index() {
  const testing::Data data = small_data(40);
  PairIndexOptions chosen;
  chosen.degree = 4;
  chosen.breadth = 10;
  return PairIndex::build(data.image.view(), data.text.view(), chosen, {}, 1);
}

inline void search(const PairIndex& index, const testing::Data& data) {
  const PairMatches found = index.query(data.image.view(), data.text.view(), 5, 10, 1);
  for (std::size_t i = 0; i < found.ids.size(); ++i) {
    const bool there = static_cast<std::int64_t>(i) % found.k < found.counts[i / found.k];
    promise(there ? found.ids[i] >= 0 : found.ids[i] == -1, "what was found has an id");
  }
}

}  // namespace helip::fuzz
