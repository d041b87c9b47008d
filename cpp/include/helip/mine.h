// Hard pair mining (HPM, arXiv 2305.05208): for every target i the k pairs j of largest
//     score(i, j) = s̃ᴵ(i, j) · s̃ᵀ(i, j),
// where s̃ is the cosine similarity of one modality, set to zero for j = i, for near duplicates
// (s > image_max, s > text_max) and for s < 0. Pairs with score > min_score count, ordered by
// (score descending, j ascending); min_score = 0 keeps every positive score.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/matrix.h"
#include "helip/progress.h"

namespace helip {

enum class Method { automatic, exact, sample, hnsw, partition };
enum class Modality { both, image, text };
enum class Collapse { none, image, text, both };

HELIP_EXPORT const char* name_of(Method method) noexcept;       // "auto", "exact", ...
HELIP_EXPORT Method method_from_name(const std::string& name);  // throws invalid_argument
HELIP_EXPORT const char* name_of(Modality modality) noexcept;
HELIP_EXPORT Modality modality_from_name(const std::string& name);
HELIP_EXPORT const char* name_of(Collapse collapse) noexcept;
HELIP_EXPORT Collapse collapse_from_name(const std::string& name);

struct MineOptions {
  std::int64_t k = 100;  // pool size, >= 1; above N - 1 every target is short
  // automatic: exact up to 300,000 rows; beyond, partition where exact would take this machine more
  // than half an hour and twice as long, unless `recall` or the options ask for all pairs.
  // `threads` and `memory` do not matter to it.
  Method method = Method::automatic;
  Modality modality = Modality::both;  // image / text: the score is that one similarity (IM, TM)
  double image_max = 0.98;             // near-duplicate threshold on the image cosine
  double text_max = 0.98;              // near-duplicate threshold on the text cosine
  double min_score = 0.0;              // a score must exceed it
  bool signed_products = false;        // no clamp at zero: two negatives multiply to a positive
  // False negatives: drops a candidate whose caption fits the target's image, or whose image fits
  // the target's caption, as well as the target's own do, but for this margin:
  //     max(cos(uᵢ, vⱼ), cos(uⱼ, vᵢ)) > cos(uᵢ, vᵢ) − margin.
  // Needs image and text embeddings of one space, such as CLIP's own.
  std::optional<double> margin;
  std::int64_t skip = 0;  // best pairs that are passed over before the pool begins
  // Of candidates that are near duplicates of each other, directly or by way of others, only the
  // best enters a pool: duplicates by image, by text, or by both at once.
  Collapse collapse = Collapse::none;
  std::int64_t candidates = 0;    // sample: C; 0 means min(N, 3,000,000)
  std::int64_t refresh = 300000;  // sample: targets served by one draw of candidates
  std::uint64_t seed = 0;         // sample, hnsw and partition
  // hnsw, partition: the lower 95 % limit of the measured recall must reach it. A graph may fall
  // short, and its report says so.
  double recall = 0.95;
  int threads = 0;          // 0: all cores
  std::int64_t memory = 0;  // bytes for buffers; 0: a quarter of what the machine gives (machine.h)
  // With `out`: commits the job in so many parts, ranges of targets, in "<out>.parts", and takes up
  // those that an interrupted job left there. More than one gives up symmetry between parts: up to
  // twice the pairs. Of exact and sample; automatic is exact then. The table is the same.
  std::int64_t parts = 1;
  // hnsw and partition, of a store and with `out`: seconds of work after which what was found so
  // far is saved in "<out>.checkpoint", where the same call goes on after an interruption; 0 saves
  // after each step, infinity never. Saving takes at most a fiftieth of the time. The table is the
  // same.
  double checkpoint = 60.0;
};

// What a job would cost on this machine, estimated from a short measurement of its speed.
struct MinePlan {
  Method method = Method::exact;  // never automatic
  std::string reason;             // why this method
  std::string filters;            // exact: what pairs go through before they are scored, JSON
  double seconds = 0;
  std::int64_t memory_bytes = 0;   // buffers beyond the input
  std::int64_t disk_bytes = 0;     // the saved table
  std::int64_t pairs = 0;          // ordered pairs that will be scored
  std::int64_t scratch_bytes = 0;  // on disk while it runs, where memory= is too small
  std::int64_t bands = 0;          // blocks of targets kept in memory one after another
};

// Throws Error: invalid_argument (options, shapes, NaN or infinity with its row), cancelled,
// out_of_memory (also: the graph of method hnsw is larger than `memory`). `out` empty: the table is
// kept in memory, else it is streamed to a new directory. The result depends on the input and the
// options alone, never on `threads` or `memory`; only the choice that `automatic` makes above
// 300,000 rows asks for the machine's speed.
HELIP_EXPORT HardPairs mine(const MatrixView& image, const MatrixView& text,
                            const MineOptions& options, const ProgressCallback& progress = {},
                            const std::filesystem::path& out = {});
HELIP_EXPORT HardPairs mine(const EmbeddingStore& store, const MineOptions& options,
                            const ProgressCallback& progress = {},
                            const std::filesystem::path& out = {});

HELIP_EXPORT MinePlan plan(const MatrixView& image, const MatrixView& text,
                           const MineOptions& options);
HELIP_EXPORT MinePlan plan(const EmbeddingStore& store, const MineOptions& options);

// Exact float64 scores of given candidates, then top-k: the last step of every engine, also of
// those outside this library (a GPU). `candidates` int64 [n, c], -1 for none, duplicates allowed;
// row r belongs to target targets[r]. Returns one band with first = 0 and n rows.
HELIP_EXPORT HardPairBand rerank(const MatrixView& image, const MatrixView& text,
                                 const std::vector<std::int64_t>& targets,
                                 const MatrixView& candidates, const MineOptions& options);

// Exact pools of the given targets alone. Same rules as mine().
HELIP_EXPORT HardPairBand mine_targets(const MatrixView& image, const MatrixView& text,
                                       const std::vector<std::int64_t>& targets,
                                       const MineOptions& options,
                                       const ProgressCallback& progress = {});

}  // namespace helip
