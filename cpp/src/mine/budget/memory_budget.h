// What a job may take of the machine, and where that lies which does not fit.
#pragma once

#include <cstdint>
#include <filesystem>

#include "helip/mine_options.h"

namespace helip::mining {

// options.memory, or a quarter of the physical memory.
std::int64_t memory_budget(const MineOptions& options) noexcept;

// Where codes and pools go that do not fit into memory: beside the table, or where temporary files
// go.
std::filesystem::path scratch_folder(const std::filesystem::path& out);

}  // namespace helip::mining
