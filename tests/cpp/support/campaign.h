// How much of the faults is tried: all of it where HELIP_CAMPAIGN is set, as by `make campaign`.
#pragma once

#include <cstdlib>

inline bool is_campaign() { return std::getenv("HELIP_CAMPAIGN") != nullptr; }
