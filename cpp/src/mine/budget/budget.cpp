#include "mine/budget/budget.h"

#include <algorithm>
#include <system_error>

#include "helip/machine.h"
#include "mine/bound/row_order.h"
#include "mine/graph/pair_codes.h"
#include "mine/pool/bands.h"
#include "mine/pool/recall.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kDefaultCandidates = 3000000;

}  // namespace

std::int64_t sample_candidates(const MineOptions& options, std::int64_t rows) noexcept {
  return options.candidates > 0 ? options.candidates : std::min(rows, kDefaultCandidates);
}

std::int64_t hnsw_first_breadth(std::int64_t kept) noexcept { return kept + kept / 4 + 16; }

std::int64_t hnsw_last_breadth(std::int64_t kept) noexcept {
  return std::max(kHnswWidest, 2 * hnsw_first_breadth(kept));
}

std::int64_t hnsw_bytes(const Corpus& corpus) noexcept {
  const PairCodec codec(corpus.image_dimensions(), corpus.text_dimensions(),
                        corpus.rules().signed_products, corpus.kernel());
  return ProductGraph::bytes(codec, kHnswGraph, corpus.size()) +
         corpus.size() * static_cast<std::int64_t>(sizeof(std::int64_t));
}

std::int64_t partition_seeds(std::int64_t kept) noexcept {
  return std::max(kPartitionNear * kRowsPerCluster, 8 * kept);
}

double partition_share(std::int64_t rows, std::int64_t kept) noexcept {
  const double compared = 1.5 * static_cast<double>(partition_seeds(kept));
  return std::min(1.0, compared / static_cast<double>(std::max<std::int64_t>(rows, 1)));
}

bool partition_pays(std::int64_t rows, std::int64_t kept, double recall) {
  return partition_share(rows, kept) <= 1.0 / 16.0 && recall <= most_recall_shown(rows);
}

std::int64_t bytes_of_notes(std::int64_t rows, int threads) noexcept {
  return rows * threads * static_cast<std::int64_t>(sizeof(std::uint32_t));
}

std::int64_t bytes_without_codes(const Corpus& corpus, std::int64_t kept, int threads) noexcept {
  return corpus.targets() * (bytes_of_target(std::min(kept, corpus.size())) + 4 * kNeighbours) +
         bytes_of_notes(corpus.size(), threads);
}

FilterChoice filter_choice(std::int64_t rows, const MineOptions& options) {
  const std::int64_t kept = options.k + options.skip;
  if (options.method == MiningMethod::partition && partition_pays(rows, kept, options.recall)) {
    return {kept,
            {FilteredPairs::closest, partition_share(rows, kept), partition_seeds(kept),
             kRecallTargets}};
  }
  if (options.method == MiningMethod::sample) {
    // The best of some rows would be far down among all.
    const std::int64_t candidates = std::max<std::int64_t>(1, sample_candidates(options, rows));
    return {std::min(rows, kept * rows / candidates), {}};
  }
  return {kept, {}};
}

FilterPlan choose_filters_for(const Corpus& corpus, const MineOptions& options, Team& team) {
  const FilterChoice choice = filter_choice(corpus.candidate_rows(), options);
  return choose_filters(corpus, choice.k, team, choice.comparison);
}

namespace fs = std::filesystem;

std::int64_t memory_budget(const MineOptions& options) noexcept {
  if (options.memory > 0) return options.memory;
  const std::int64_t memory = this_machine().memory;
  return memory > 0 ? memory / 4 : std::int64_t{1} << 30;
}

fs::path scratch_folder(const fs::path& out) {
  // Whoever writes there says what is wrong with a folder: a job may never need it.
  std::error_code failed;
  if (!out.empty()) {
    const fs::path parent = fs::absolute(out, failed).parent_path();
    if (!failed && fs::is_directory(parent, failed)) return parent;
  }
  fs::path temporary = fs::temp_directory_path(failed);
  return failed ? fs::path("/tmp") : temporary;
}

}  // namespace helip::mining
