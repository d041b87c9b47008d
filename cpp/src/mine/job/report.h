// What files say of a job: its options as used, what was measured, and what the bytes of its table
// depend on. What two processes do of one job must agree in the last.
#pragma once

#include <cstdint>
#include <string>

#include "helip/embedding_store.h"
#include "helip/mine_options.h"
#include "helip/negatives_input.h"
#include "io/json.h"
#include "mine/bound/filter_plan.h"
#include "mine/method/method.h"
#include "mine/pool/recall.h"

namespace helip::mining {

// The options as used, without those that change nothing in the table.
std::string options_json(const MineOptions& options);
// The same of queries, with the corpus, the positives and their margin.
std::string options_json(const MineOptions& options, const NegativesInput& queries);
// Pairs, drops and measurements of `targets`; `filters` nullptr: none were used. `codes`: what
// hindered keeping them, or empty.
std::string report_json(const MethodReport& report, const FilterPlan* filters,
                        const MineOptions& options, const TargetRange& targets,
                        const Corpus& corpus, const std::string& codes);
// The "filters" of a report.
OrderedJson filters_json(const FilterPlan& filters, const MineOptions& options);
// The "recall" of a report, and back.
OrderedJson recall_json(const RecallEstimate& recall);
RecallEstimate recall_of_json(const Json& json);

// A flat JSON object: "store", "data", "rows" and each option as used.
OrderedJson identity_of(const std::string& fingerprint, const std::string& data_fingerprint,
                        std::int64_t rows, const std::string& options_json);
OrderedJson identity_of(const EmbeddingStore& store, const MineOptions& options);
// The same with what else the bits of a state depend on: float32 sums of another kernel may end in
// other bits, those of another version in anything.
OrderedJson with_program(OrderedJson identity);
// What the codes of a store as a job makes them depend on; `grown`: by way of those of an earlier
// state.
OrderedJson codes_identity(const EmbeddingStore& store, const MineOptions& options, bool grown);

// What differs, in words: "k 10, here 20; seed 0, here 1". Empty where nothing does.
std::string differences(const OrderedJson& there, const OrderedJson& here);

}  // namespace helip::mining
