// The table of hard pairs: for each target row, up to k other rows in order of falling score.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "helip/export.h"
#include "helip/hard_pair_band.h"  // IWYU pragma: export
#include "helip/matrix.h"
#include "helip/progress.h"

namespace helip {

struct PairTable;

struct HardPairStatistics {
  std::int64_t targets = 0;
  std::int64_t k = 0;
  std::int64_t pairs = 0;          // sum of counts
  std::int64_t outliers = 0;       // targets with no hard pair
  std::int64_t short_targets = 0;  // targets with fewer than k
  // (q, value) for q in 0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1; empty when there is no pair.
  std::vector<std::pair<double, double>> score_quantiles;        // over every pair
  std::vector<std::pair<double, double>> first_score_quantiles;  // over the first pair of a target
  // Hubness: how often a row is somebody's hard pair (its in-degree).
  double mean_in_degree = 0;
  std::int64_t max_in_degree = 0;
  std::int64_t never_chosen = 0;  // rows that are nobody's hard pair
  double in_degree_skewness = 0;  // third standardised moment; large means a few hubs
  std::vector<std::pair<std::int64_t, std::int64_t>> hubs;  // (row, in-degree), the ten largest
};

// Immutable; cheap to copy (shared state); safe to read from many threads. What was moved from is a
// table of no rows.
class HELIP_EXPORT HardPairs {
 public:
  // Where a table comes from; all of it is kept in the manifest.
  struct Origin {
    std::string fingerprint;          // of the store that was mined; empty for bare arrays
    std::string data_fingerprint;     // DataFingerprint::text(); empty for bare arrays
    std::string options_json = "{}";  // the mining options, a JSON object
    std::string report_json = "{}";   // what mining measured: drops per filter, recall, seconds
  };

  HardPairs() noexcept;  // of no rows
  HardPairs(const HardPairs&) noexcept;
  HardPairs(HardPairs&&) noexcept;
  HardPairs& operator=(const HardPairs&) noexcept;
  HardPairs& operator=(HardPairs&&) noexcept;
  ~HardPairs();

  // Maps a table. Reads ids and counts once, which steer training and are used as row numbers: a
  // flipped bit in them must show before the first batch. 10 million rows with k = 50 are 2 GB, and
  // take 0.4 s of one core where they are in memory. Leaves scores to verify(). Throws Error: io,
  // corrupt, unsupported, mismatch (something else lies there), cancelled.
  [[nodiscard]] static HardPairs open(const std::filesystem::path& path,
                                      const ProgressCallback& progress = {});
  // Copies; checks ranges: ids in [0, rows) other than their own row, counts in [0, k], padding.
  // `ids` int32 or int64 [rows, k], `scores` float32 [rows, k], `counts` int32 [rows, 1].
  // Throws Error: invalid_argument, out_of_memory, cancelled.
  [[nodiscard]] static HardPairs from_arrays(const MatrixView& ids, const MatrixView& scores,
                                             const MatrixView& counts, Origin origin,
                                             const ProgressCallback& progress = {});

  // Writes a directory that did not exist; all or nothing. Throws Error: io, invalid_argument
  // (something is there), cancelled.
  void save(const std::filesystem::path& path, const ProgressCallback& progress = {}) const;
  // The CSV of the reference implementation of arXiv 2305.05208: `target,h1,...,hk` for each target
  // that has a hard pair, pads left out. What lies there is replaced, whole. Throws Error: io,
  // invalid_argument, cancelled.
  void save_csv(const std::filesystem::path& path, const ProgressCallback& progress = {}) const;
  // Reads such a file. A header is skipped; targets without a line have no pair. It has no scores:
  // rank r of n gets 1 - r / n, so that the order is kept. `rows`: N of the data set; below 0 one
  // more than the largest number. Throws Error: io, out_of_memory, cancelled, invalid_argument
  // (with the line).
  [[nodiscard]] static HardPairs open_csv(const std::filesystem::path& path, std::int64_t rows = -1,
                                          const ProgressCallback& progress = {});
  // Reads every byte: checksums, and the rules of a table's rows, scores among them. Throws Error:
  // corrupt at the first damage, cancelled.
  void verify(const ProgressCallback& progress = {}) const;

  [[nodiscard]] std::int64_t size() const noexcept;  // number of targets N
  [[nodiscard]] std::int64_t k() const noexcept;
  [[nodiscard]] MatrixView ids() const noexcept;     // int32 [N, k], int64 from N = 2^31
  [[nodiscard]] MatrixView scores() const noexcept;  // float32 [N, k]
  [[nodiscard]] MatrixView counts() const noexcept;  // int32 [N, 1]
  // 0 <= target < size(), 0 <= rank < k(): not checked.
  [[nodiscard]] std::int64_t id(std::int64_t target, std::int64_t rank) const noexcept;
  [[nodiscard]] float score(std::int64_t target, std::int64_t rank) const noexcept;
  [[nodiscard]] std::int32_t count(std::int64_t target) const noexcept;

  [[nodiscard]] const Origin& origin() const noexcept;
  // The directory; empty for a table in memory.
  [[nodiscard]] const std::filesystem::path& path() const noexcept;
  // Goes over all pairs, and sorts their scores (of more than 2^26, an even sample of these).
  [[nodiscard]] HardPairStatistics statistics(const ProgressCallback& progress = {}) const;

 private:
  friend class HardPairsWriter;
  explicit HardPairs(std::shared_ptr<const PairTable> table) noexcept;
  std::shared_ptr<const PairTable> table_;  // never null
};

}  // namespace helip
