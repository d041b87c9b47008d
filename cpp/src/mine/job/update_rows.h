// Rows of a store that changed since a table of it was mined, what an update does with each row,
// and the codes that an earlier job kept.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "helip/embedding_store.h"
#include "helip/hard_pairs.h"
#include "helip/mine_options.h"
#include "helip/progress.h"
#include "mine/bound/kept_codes.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

// Rows whose old scores are void: deleted now, and not before, or given other values.
struct Outdated {
  std::vector<std::uint8_t> marks;  // [store.size()]
  std::int64_t deleted = 0;
  std::int64_t replaced = 0;
};

// `before`: of the store, when the table was mined.
Outdated outdated_since(const EmbeddingStore& store, const EarlierState& before);

// What must happen to the pool of each row.
enum class RowRole : std::uint8_t {
  none,   // a row of zeros or a deleted one
  added,  // a new row, or one with new values: is compared with every row
  stale,  // an old one whose full pool lost a row: is compared with every row
  kept,   // an old one: is compared with the new rows
};

struct RowRoles {
  std::vector<RowRole> of;  // [rows]
  std::int64_t count[4] = {0, 0, 0, 0};
  std::int64_t operator[](RowRole role) const { return count[static_cast<std::size_t>(role)]; }
};

// `pairs` are of the first rows of the corpus, which is measured.
RowRoles sort_rows(const Corpus& corpus, const HardPairs& pairs, const Outdated& outdated);

// Of an earlier state of the store, or of this one, by whatever job; what is made is kept in their
// place. Nothing where no folder is given.
std::optional<KeptCodes> codes_for_update(const EmbeddingStore& store, const Corpus& corpus,
                                          const MineOptions& options,
                                          const ProgressCallback& progress);

// The order, and then the rows that it lacks. Without clusters.
RowOrder with_all_rows(const RowOrder& order, const Corpus& corpus);

}  // namespace helip::mining
