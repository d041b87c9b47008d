// Codes that an earlier job kept, for an update.
#pragma once

#include <optional>

#include "helip/embedding_store.h"
#include "helip/mine_options.h"
#include "helip/progress.h"
#include "mine/bound/kept_codes.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

// Of an earlier state of the store, or of this one, by whatever job; what is made is kept in their
// place. Nothing where no folder is given.
std::optional<KeptCodes> codes_for_update(const EmbeddingStore& store, const Corpus& corpus,
                                          const MineOptions& options,
                                          const ProgressCallback& progress);

// The order, and then the rows that it lacks. Without clusters.
RowOrder with_all_rows(const RowOrder& order, const Corpus& corpus);

}  // namespace helip::mining
