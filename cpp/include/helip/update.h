// Brings a table of hard pairs up to date with a store that has grown, or lost rows, since.
#pragma once

#include <cstdint>
#include <filesystem>

#include "helip/dropped_pairs.h"
#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/matrix.h"
#include "helip/mine_options.h"
#include "helip/progress.h"

namespace helip {

struct UpdateOptions {
  int threads = 0;          // 0: all cores
  std::int64_t memory = 0;  // bytes for buffers; 0: a quarter of what the machine gives (machine.h)
  // As in MineOptions: codes of an earlier state of the store are gone on with, by whatever options
  // they were made. Once more than an eighth of the rows is new to them, all are kept anew.
  std::filesystem::path codes = {};
  bool keep_codes = false;
};

// The table that mine() gives for `store` with the options of `pairs`: the same ids, scores and
// counts, at a cost in proportion to what changed. `pairs` was mined exactly from an earlier state
// of `store`: rows were appended to it, or deleted, since.
//
// New rows are compared with every row; old ones with the new rows alone, unless a full pool of
// theirs lost a row (docs/update.md). With `skip` or `collapse`, and where more than half of the
// rows would meet every row, the store is mined afresh; the report's "update" says so. A table that
// is up to date is returned as it is.
//
// `out` empty: in memory; else a new directory, or that of `pairs`, whose table is then replaced in
// one step. A table at `out` that is up to date already is returned.
//
// Throws Error: mismatch (the store is no later state of the one that was mined), unsupported (the
// table was not mined exactly), invalid_argument (`out` holds something else), io, cancelled,
// out_of_memory. The result does not depend on the options.
HELIP_EXPORT HardPairs update(const HardPairs& pairs, const EmbeddingStore& store,
                              const UpdateOptions& options = {},
                              const ProgressCallback& progress = {},
                              const std::filesystem::path& out = {});

// The table of all rows of two matrices, of which the first pairs.size() have the pools of `pairs`:
// those go on with the rows that follow, and these are compared with every row. Pairs of two of the
// first rows are not looked at, so the pools are as good as `pairs` are. A row of zeros in a pool
// of `pairs` stays there with its score.
//
// `options` are those of `pairs`; their method, threads and memory change no byte. The fingerprints
// and the options of the table are those of `pairs`. `dropped`: gets what the rules kept out, of
// the pairs that were looked at.
//
// Throws Error: invalid_argument (options, shapes; k is not pairs.k(); skip and collapse, which ask
// for pairs that no table holds), io, cancelled, out_of_memory.
HELIP_EXPORT HardPairs add_rows(const HardPairs& pairs, const MatrixView& image,
                                const MatrixView& text, const MineOptions& options,
                                const ProgressCallback& progress = {},
                                const std::filesystem::path& out = {},
                                DroppedPairs* dropped = nullptr);

}  // namespace helip
