// A mining job in parts: ranges of its targets, each solved against all rows, wherever there is a
// processor that can read the store. Merged, the parts are the table that mine() gives, byte for
// byte. MineOptions::parts does the same within one process, for the sake of resuming.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/hard_pairs_part.h"
#include "helip/mine.h"
#include "helip/progress.h"

namespace helip {

// Mines the index-th of `count` parts, counted from 1, into the directory `out`. A part that lies
// there already is returned if it is this one, and refused if it is not. Method exact or sample;
// automatic is exact. Throws Error: mismatch (with what differs), unsupported (another method),
// invalid_argument, io, cancelled, out_of_memory.
HELIP_EXPORT HardPairsPart mine_part(const EmbeddingStore& store, std::int64_t index,
                                     std::int64_t count, const MineOptions& options,
                                     const std::filesystem::path& out,
                                     const ProgressCallback& progress = {});

// Writes the table of all parts of a job, given in any order, to the new directory `out`; empty:
// keeps it in memory. Every byte of the parts is checked, and memory does not grow with their size.
// The parts stay. Throws Error: mismatch (parts of different jobs, with what differs),
// invalid_argument (a part is absent or given twice), corrupt, io, cancelled.
HELIP_EXPORT HardPairs merge_parts(const std::vector<std::filesystem::path>& parts,
                                   const std::filesystem::path& out,
                                   const ProgressCallback& progress = {});

}  // namespace helip
