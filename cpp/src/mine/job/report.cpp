#include "mine/job/report.h"

#include <utility>

#include "helip/version.h"
#include "mine/bound/kept_codes.h"
#include "mine/budget/budget.h"
#include "mine/corpus/mine_options.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

std::string options_json(const MineOptions& options) {
  OrderedJson json{{"k", options.k},
                   {"method", name_of(options.method)},
                   {"modality", name_of(options.modality)},
                   {"image_max", options.image_max},
                   {"text_max", options.text_max},
                   {"min_score", options.min_score},
                   {"signed", options.signed_products},
                   {"margin", options.margin ? OrderedJson(*options.margin) : OrderedJson(nullptr)},
                   {"skip", options.skip},
                   {"collapse", name_of(options.collapse)},
                   {"candidates", options.candidates},
                   {"refresh", options.refresh},
                   {"seed", options.seed},
                   {"recall", options.recall}};
  if (!options.channels.empty()) {
    json["modality"] = "channels";  // who reads "both" takes the score for image times text
    json["score"] = name_of(options.score);
    json["channels"] = OrderedJson::array();
    for (const ChannelRule& channel : options.channels) {
      // As an array: members of an object would come back in another order.
      json["channels"].push_back({channel.name, channel.maximum, channel.weight});
    }
  }
  return json.dump();
}

std::string options_json(const MineOptions& options, const NegativesInput& queries) {
  OrderedJson json = OrderedJson::parse(options_json(options));
  json["relative_margin"] =
      queries.relative_margin ? OrderedJson(*queries.relative_margin) : OrderedJson(nullptr);
  json["positives"] = digest_of(queries.positives);
  const EmbeddingStore* corpus = queries.corpus;
  json["corpus"] = corpus == nullptr ? "" : corpus->fingerprint();
  json["corpus_data"] = corpus == nullptr ? "" : corpus->data_fingerprint();
  json["corpus_rows"] = row_count({queries.corpus_image, queries.corpus_text}, options);
  return json.dump();
}

// Shares of a sample's pairs that each filter lets pass; of the pairs that reach the score itself.
OrderedJson filters_json(const FilterPlan& filters, const MineOptions& options) {
  OrderedJson json;
  if (options.channels.empty()) {
    json["weight"] = filters.factors.empty() ? 1.0 : filters.factors.front();
  } else {
    json["factors"] = OrderedJson::object();
    for (std::size_t c = 0; c < filters.factors.size(); ++c) {  // none where no filter pays
      json["factors"][options.channels[c].name] = filters.factors[c];
    }
  }
  json.update({{"high_share", filters.high_share},
               {"dimensions", {filters.high, filters.low, filters.second}},
               {"passed", OrderedJson::object()}});
  const auto put = [&json](const char* name, double share) {
    if (share >= 0.0) json["passed"][name] = share;
  };
  put("first", filters.passed_first);
  put("second", filters.passed_second);
  put("sum", filters.passed_whole);
  put("score", filters.passed_score);
  return json;
}

OrderedJson recall_json(const RecallEstimate& recall) {
  return {{"value", recall.estimate},
          {"low", recall.low},
          {"high", recall.high},
          {"targets", recall.targets},
          {"confidence", 0.95}};
}

RecallEstimate recall_of_json(const Json& json) {
  return {integer_of(json.at("targets")), json.at("value").get<double>(),
          json.at("low").get<double>(), json.at("high").get<double>()};
}

std::string report_json(const MethodReport& report, const FilterPlan* filters,
                        const MineOptions& options, const TargetRange& targets,
                        const Corpus& corpus, const std::string& codes) {
  const std::int64_t each =
      options.method == MiningMethod::sample ? options.candidates : corpus.candidates();
  const DropCounts& drops = report.drops;
  const auto kept_out = [&drops](Verdict verdict) {
    return drops.kept_out[static_cast<std::size_t>(verdict)];
  };
  OrderedJson json{{"pairs", (targets.last - targets.first) * each},
                   {"drops",
                    {{"image_duplicate", kept_out(Verdict::image_duplicate)},
                     {"text_duplicate", kept_out(Verdict::text_duplicate)},
                     {"margin", kept_out(Verdict::margin)},
                     {"collapsed", kept_out(Verdict::collapsed)},
                     {"skipped", drops.skipped}}}};
  if (!options.channels.empty()) json["drops"]["duplicate"] = kept_out(Verdict::duplicate);
  if (corpus.queries() > 0) {
    json["drops"]["positive"] = kept_out(Verdict::positive);
    json["drops"]["positive_duplicate"] = kept_out(Verdict::positive_duplicate);
    if (corpus.has_positives()) json["equal_queries"] = corpus.equal_queries();
  }
  if (filters != nullptr) json["filters"] = filters_json(*filters, options);
  if (report.has_recall && targets.last - targets.first == corpus.targets()) {
    json["recall"] = recall_json(report.recall);
  } else if (report.has_recall) {
    // Of a part: what the recall of the whole table is made of when the parts are merged.
    json["recall_hits"] = OrderedJson::array();
    for (const RecallHits& target : report.hits) {
      json["recall_hits"].push_back({target.hits, target.wanted});
    }
  }
  if (report.hnsw.breadth > 0) {
    json["hnsw"] = {{"breadth", report.hnsw.breadth}, {"reached", report.hnsw.reached}};
  }
  if (report.partition.clusters > 0) {
    json["partition"] = {{"clusters", report.partition.clusters},
                         {"near", report.partition.near},
                         {"passes", report.partition.passes},
                         {"met", report.partition.compared},
                         {"exact", report.partition.compared >= 1.0}};
  }
  if (!codes.empty()) json["codes"] = codes;
  return json.dump();
}

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
  for (const char* rule : {"score", "channels"}) {
    if (all.contains(rule)) identity[rule] = all.at(rule);
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
