// What a table's manifest says of its mining: the options as used, and what was measured.
#pragma once

#include <cstdint>
#include <string>

#include "helip/mine_options.h"
#include "io/json.h"
#include "mine/bound/filter_plan.h"
#include "mine/method/method.h"
#include "mine/pool/recall.h"

namespace helip::mining {

// The options as used, without those that change nothing in the table.
std::string options_json(const MineOptions& options);
// Pairs, drops and measurements of `targets`; `filters` nullptr: none were used.
std::string report_json(const MethodReport& report, const FilterPlan* filters,
                        const MineOptions& options, const TargetRange& targets, std::int64_t rows);
// The "filters" of a report.
OrderedJson filters_json(const FilterPlan& filters);
// The "recall" of a report, and back.
OrderedJson recall_json(const RecallEstimate& recall);
RecallEstimate recall_of_json(const Json& json);

}  // namespace helip::mining
