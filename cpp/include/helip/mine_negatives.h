// Hard negatives of queries in another data set: for every query i the k rows j of a corpus of
// largest
//     score(i, j) = s̃ᴵ(i, j) · s̃ᵀ(i, j)      (or the one similarity of `modality`)
// as helip/mine.h defines it, without the positives of the query and their near duplicates: rows
// whose cosine with a positive is above image_max or text_max. All matrices of a modality lie in
// one space, such as texts by one model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "helip/export.h"
#include "helip/hard_negatives.h"
#include "helip/hard_pairs_part.h"
#include "helip/mine_options.h"
#include "helip/negatives_input.h"  // IWYU pragma: export
#include "helip/progress.h"

namespace helip {

// Methods exact and partition; automatic is exact. Of the options, `margin`, `codes`, `keep_codes`
// and `checkpoint` have no use here. `out` empty: the table is kept in memory, else it is streamed
// to a new directory. Of stores and with `out` the job is committed in options.parts parts, as that
// of mine() is. Throws Error: invalid_argument (options, shapes, a query without positives,
// positives that are no rows, NaN or infinity with its row), unsupported (another method),
// mismatch (parts of another job), cancelled, out_of_memory, io.
[[nodiscard]] HELIP_EXPORT HardNegatives mine_negatives(const NegativesInput& input,
                                                        const MineOptions& options,
                                                        const ProgressCallback& progress = {},
                                                        const std::filesystem::path& out = {});

// What a table of this call has as its options, JSON: its positives as a digest. Throws
// Error(invalid_argument).
[[nodiscard]] HELIP_EXPORT std::string negatives_options(const NegativesInput& input,
                                                         MineOptions options);

// The index-th of `count` parts, ranges of queries, as mine_part() of helip/parts.h. Method exact.
HELIP_EXPORT HardPairsPart mine_negatives_part(const NegativesInput& input, std::int64_t index,
                                               std::int64_t count, const MineOptions& options,
                                               const std::filesystem::path& out,
                                               const ProgressCallback& progress = {});

// The table of all parts of a job, as merge_parts().
HELIP_EXPORT HardNegatives merge_negatives_parts(const std::vector<std::filesystem::path>& parts,
                                                 const std::filesystem::path& out,
                                                 const ProgressCallback& progress = {});

}  // namespace helip
