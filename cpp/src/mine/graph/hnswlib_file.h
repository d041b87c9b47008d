// The file of hnswlib 0.8, so that services that speak it can serve an index of pairs, and theirs
// can be opened here. docs/pair-index.md has what is written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "helip/matrix.h"
#include "helip/pair_index.h"
#include "helip/progress.h"
#include "mine/graph/index_file.h"

namespace helip::mining {

// The pairs of such a file, as float16 unit vectors, without those that are marked as deleted.
struct HnswlibPairs {
  std::int64_t image_dimensions = 0, text_dimensions = 0;
  std::vector<std::uint16_t> image, text;
  std::vector<std::int64_t> ids;

  MatrixView image_view() const noexcept { return view(image, image_dimensions); }
  MatrixView text_view() const noexcept { return view(text, text_dimensions); }

 private:
  MatrixView view(const std::vector<std::uint16_t>& rows, std::int64_t dimensions) const noexcept {
    return {rows.data(),    static_cast<std::int64_t>(ids.size()),
            dimensions,     DType::float16,
            2 * dimensions, nullptr};
  }
};

// A new file of the space `ip`: float32 vectors [u; v] / √2 of both unit vectors, whose inner
// product is the mean of the two cosines; links and marks as they are here. Stage "save". Throws
// Error: invalid_argument (something is there), io, corrupt, cancelled.
void save_hnswlib(const std::filesystem::path& path, const PairIndexOptions& options,
                  const IndexParts& parts, const ProgressCallback& progress);
// Stage "read". Its links are not read: they are of another distance. Throws Error:
// invalid_argument (vectors that are not of pairs), io, corrupt, unsupported (more elements than an
// index has), cancelled.
HnswlibPairs read_hnswlib(const std::filesystem::path& path, std::int64_t image_dimensions,
                          const ProgressCallback& progress);

}  // namespace helip::mining
