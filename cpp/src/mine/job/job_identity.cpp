#include "mine/job/job_identity.h"

#include "helip/version.h"
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
  OrderedJson identity = with_program(identity_of(store, options));
  identity["grown"] = grown;
  return identity;
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
