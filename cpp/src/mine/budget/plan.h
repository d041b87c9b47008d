// What methods would cost on this machine.
#pragma once

#include <cstdint>

#include "base/team.h"
#include "helip/plan.h"
#include "mine/bound/filter_plan.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

// Up to here method automatic does not ask for the time.
inline constexpr std::int64_t kExactRows = 300000;

struct Planned {
  MinePlan plan;  // without `filters`
  FilterPlan filters;
};

// `options` validated; `method` automatic is decided here. Looks at a sample of the rows.
Planned make_plan(const Corpus& corpus, const MineOptions& options, Team& team);

}  // namespace helip::mining
