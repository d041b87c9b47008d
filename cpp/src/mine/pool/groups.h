// Which rows are near duplicates of each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/team.h"
#include "helip/matrix.h"
#include "helip/mine_options.h"

namespace helip::mining {

// For each row the first row of its group: the rows that are reached from it over near duplicates
// in the sense of options.collapse, which is not none. [rows]
std::vector<std::uint32_t> duplicate_groups(const MatrixView& image, const MatrixView& text,
                                            const MineOptions& options, std::int64_t memory,
                                            const std::filesystem::path& scratch, Team& team);

}  // namespace helip::mining
