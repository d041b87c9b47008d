// What a table's manifest says of its mining: the options as used, and what was measured.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "helip/mine_options.h"
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
nlohmann::ordered_json filters_json(const FilterPlan& filters);
// The "recall" of a report, and back.
nlohmann::ordered_json recall_json(const RecallEstimate& recall);
RecallEstimate recall_of_json(const nlohmann::json& json);

}  // namespace helip::mining
