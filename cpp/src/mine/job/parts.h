// Jobs that are done in parts, besides what helip/parts.h offers.
#pragma once

#include <cstdint>
#include <filesystem>

#include "helip/parts.h"

namespace helip::mining {

// mine() with options.parts > 1.
HardPairs mine_in_parts(const EmbeddingStore& store, const MineOptions& options,
                        const ProgressCallback& progress, const std::filesystem::path& out);

// Where its parts lie: "<out>.parts", with a directory "part-00001-of-00016" each.
std::filesystem::path parts_folder(const std::filesystem::path& out);
std::filesystem::path part_path(const std::filesystem::path& folder, std::int64_t index,
                                std::int64_t count);

}  // namespace helip::mining
