// How much of the faults and of some slow cases is tried: all of it where HELIP_CAMPAIGN is set, as
// by `make campaign` and `make nightly`.
#pragma once

#include <cstdlib>

inline bool is_campaign() { return std::getenv("HELIP_CAMPAIGN") != nullptr; }
