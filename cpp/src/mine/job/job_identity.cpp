#include "mine/job/job_identity.h"

#include <utility>

#include "helip/version.h"
#include "mine/bound/kept_codes.h"
#include "mine/budget/method_sizes.h"
#include "mine/job/report.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

OrderedJson identity_of(const std::string& fingerprint, const std::string& data_fingerprint,
                        std::int64_t rows, const std::string& options_json) {
  OrderedJson identity{{"store", fingerprint}, {"data", data_fingerprint}, {"rows", rows}};
  identity.update(OrderedJson::parse(options_json));
  return identity;
}

OrderedJson identity_of(const EmbeddingStore& store, const MineOptions& options) {
  return identity_of(store.fingerprint(), store.data_fingerprint(), store.size(),
                     options_json(options));
}

OrderedJson with_program(OrderedJson identity) {
  identity["kernel"] = select_kernel().name;
  identity["helip"] = version();
  return identity;
}

OrderedJson codes_identity(const EmbeddingStore& store, const MineOptions& options, bool grown) {
  const FilterChoice filters = filter_choice(store.size(), options);
  OrderedJson identity{{"store", store.fingerprint()},
                       {"data", store.data_fingerprint()},
                       {"rows", store.size()},
                       {"codes", kCodesVersion},
                       {"pool", filters.k},
                       {"pairs", static_cast<int>(filters.comparison.pairs)},
                       {"share", filters.comparison.share},
                       {"seeds", filters.comparison.seeds},
                       {"measured", filters.comparison.measured},
                       {"grown", grown}};
  const OrderedJson all = OrderedJson::parse(options_json(options));
  for (const char* rule : {"modality", "image_max", "text_max", "min_score", "signed", "margin"}) {
    identity[rule] = all.at(rule);
  }
  return with_program(std::move(identity));
}

std::string differences(const OrderedJson& there, const OrderedJson& here) {
  std::string text;
  const auto compare = [&text](const std::string& name, const OrderedJson& a,
                               const OrderedJson& b) {
    if (a == b) return;
    text += (text.empty() ? "" : "; ") + name + " " + a.dump() + ", here " + b.dump();
  };
  for (const auto& [name, value] : there.items()) {
    compare(name, value, here.contains(name) ? here[name] : OrderedJson());
  }
  for (const auto& [name, value] : here.items()) {
    if (!there.contains(name)) compare(name, OrderedJson(), value);
  }
  return text;
}

}  // namespace helip::mining
