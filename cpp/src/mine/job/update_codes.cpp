#include "mine/job/update_codes.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "mine/job/job_identity.h"
#include "mine/job/row_roles.h"

namespace helip::mining {

std::optional<KeptCodes> codes_for_update(const EmbeddingStore& store, const Corpus& corpus,
                                          const MineOptions& options,
                                          const ProgressCallback& progress) {
  if (options.codes.empty()) return {};
  const OrderedJson identity = codes_identity(store, options, true);
  std::optional<EarlierState> since;
  std::string of;  // its fingerprint
  const auto fits = [&](const OrderedJson& there) {
    if (there.at("modality") != identity.at("modality")) return false;
    of = there.at("store").get<std::string>();
    since = store.earlier_state(integer_of(there.at("rows")), of);
    return since.has_value();
  };
  std::optional<KeptCodes> codes(std::in_place, options.codes, corpus, identity, fits, progress);
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
