#include "mine/job/row_roles.h"

#include <algorithm>

namespace helip::mining {

Outdated outdated_since(const EmbeddingStore& store, const EarlierState& before) {
  Outdated outdated;
  outdated.marks.resize(static_cast<std::size_t>(store.size()));
  for (const std::int64_t row : store.deleted()) {
    if (std::binary_search(before.deleted.begin(), before.deleted.end(), row)) continue;
    outdated.marks[static_cast<std::size_t>(row)] = 1;
    ++outdated.deleted;
  }
  for (const std::int64_t row : before.replaced) {
    outdated.marks[static_cast<std::size_t>(row)] = 1;
    ++outdated.replaced;
  }
  return outdated;
}

RowRoles sort_rows(const Corpus& corpus, const HardPairs& pairs, const Outdated& outdated) {
  RowRoles roles;
  roles.of.resize(static_cast<std::size_t>(corpus.size()));
  for (std::int64_t row = 0; row < corpus.size(); ++row) {
    RowRole role = RowRole::kept;
    if (corpus.is_zero(row)) {
      role = RowRole::none;
    } else if (row >= pairs.size() || outdated.marks[static_cast<std::size_t>(row)] != 0) {
      role = RowRole::added;
    } else if (pairs.count(row) == pairs.k() && outdated.deleted + outdated.replaced > 0) {
      for (std::int64_t rank = 0; rank < pairs.k(); ++rank) {
        if (outdated.marks[static_cast<std::size_t>(pairs.id(row, rank))] != 0)
          role = RowRole::stale;
      }
    }
    roles.of[static_cast<std::size_t>(row)] = role;
    ++roles.count[static_cast<std::size_t>(role)];
  }
  return roles;
}

}  // namespace helip::mining
