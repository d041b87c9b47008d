#include "mine/job/update_rows.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "mine/job/job.h"
#include "mine/job/report.h"

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

std::optional<KeptCodes> codes_for_update(const EmbeddingStore& store, const Corpus& corpus,
                                          const MineOptions& options,
                                          const ProgressCallback& progress) {
  std::optional<CodesFolder> folder = codes_folder(options, store);
  if (!folder) return {};
  const OrderedJson identity = codes_identity(store, options, true);
  std::optional<EarlierState> since;
  std::string of;  // its fingerprint
  const auto fits = [&](const OrderedJson& there) {
    // Filters bound one score, and codes are of its channels.
    for (const char* rule : {"modality", "channels", "score"}) {
      if (there.value(rule, OrderedJson()) != identity.value(rule, OrderedJson())) return false;
    }
    of = there.at("store").get<std::string>();
    since = store.earlier_state(integer_of(there.at("rows")), of);
    return since.has_value();
  };
  std::optional<KeptCodes> codes(std::in_place, std::move(*folder), corpus, identity, fits,
                                 progress);
  if (since && of != store.fingerprint()) codes->forget(outdated_since(store, *since).marks);
  return codes;
}

RowOrder with_all_rows(const RowOrder& order, const Corpus& corpus) {
  std::vector<std::uint32_t> rows = order.rows;
  std::vector<bool> there(static_cast<std::size_t>(corpus.size()));
  for (const std::uint32_t row : order.rows) there[row] = true;
  for (std::int64_t row = 0; row < corpus.size(); ++row) {
    if (!there[static_cast<std::size_t>(row)] && !corpus.is_zero(row)) {
      rows.push_back(static_cast<std::uint32_t>(row));
    }
  }
  return unclustered(std::move(rows));
}

}  // namespace helip::mining
