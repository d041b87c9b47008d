// The table of hard pairs: for each target row, up to k other rows in order of falling score.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "helip/export.h"
#include "helip/matrix.h"

namespace helip {

// Rows [first, first + counts.size()) of a table, as a miner hands them over.
struct HardPairBand {
  std::int64_t first = 0;
  std::int64_t k = 0;
  std::vector<std::int64_t> ids;     // [rows * k], -1 beyond counts[i]
  std::vector<float> scores;         // [rows * k], 0 beyond counts[i]
  std::vector<std::int32_t> counts;  // [rows], 0 .. k
};

// Receives bands in ascending, gap-free order of rows.
class HELIP_EXPORT HardPairSink {
 public:
  virtual ~HardPairSink();
  virtual void write(const HardPairBand& band) = 0;
};

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

// Immutable; cheap to copy (shared state); safe to read from many threads.
class HELIP_EXPORT HardPairs {
 public:
  // Where a table comes from; all of it is kept in the manifest.
  struct Origin {
    std::string fingerprint;          // of the store that was mined; empty for bare arrays
    std::string keys_fingerprint;     // digest of the row keys; empty for bare arrays
    std::string options_json = "{}";  // the mining options, a JSON object
    std::string report_json = "{}";   // what mining measured: drops per filter, recall, seconds
  };

  // Throws Error: io (absent), corrupt (damaged: ids and headers are checked here), unsupported.
  static HardPairs open(const std::filesystem::path& path);
  // Copies; checks ranges: ids in [0, rows) other than their own row, counts in [0, k], padding.
  // `ids` int32 or int64 [rows, k], `scores` float32 [rows, k], `counts` int32 [rows, 1].
  static HardPairs from_arrays(MatrixView ids, MatrixView scores, MatrixView counts, Origin origin);

  // Writes a directory that did not exist; all or nothing. Throws Error(io, invalid_argument).
  void save(const std::filesystem::path& path) const;
  // Reads every byte and compares checksums; throws Error(corrupt) at the first damage.
  void verify() const;

  std::int64_t size() const noexcept;  // number of targets N
  std::int64_t k() const noexcept;
  MatrixView ids() const noexcept;     // int32 [N, k], int64 from N = 2^31
  MatrixView scores() const noexcept;  // float32 [N, k]
  MatrixView counts() const noexcept;  // int32 [N, 1]
  std::int64_t id(std::int64_t target, std::int64_t rank) const noexcept;
  float score(std::int64_t target, std::int64_t rank) const noexcept;
  std::int32_t count(std::int64_t target) const noexcept;

  const Origin& origin() const noexcept;
  HardPairStatistics statistics() const;

  struct State;

 private:
  friend class HardPairsWriter;
  explicit HardPairs(std::shared_ptr<const State> state);
  std::shared_ptr<const State> state_;
};

// What a writer does with a table that is there already: throws invalid_argument, or puts its own
// in the place of it, in one step, when it finishes.
enum class ExistingTable { refuse, replace };

// Streams bands to a directory in bounded memory, or to memory when `path` is empty.
// Not thread-safe. A writer destroyed before finish() publishes nothing.
class HELIP_EXPORT HardPairsWriter final : public HardPairSink {
 public:
  HardPairsWriter(std::filesystem::path path, std::int64_t rows, std::int64_t k,
                  ExistingTable existing = ExistingTable::refuse);
  ~HardPairsWriter() override;
  HardPairsWriter(const HardPairsWriter&) = delete;
  HardPairsWriter& operator=(const HardPairsWriter&) = delete;

  void write(const HardPairBand& band) override;
  // Publishes. Throws invalid_argument when rows are missing.
  HardPairs finish(HardPairs::Origin origin);

  // Removes what a writer that was killed left beside a table. Leaves it where another writer is at
  // work, or where the directory can only be read.
  static void remove_leftovers(const std::filesystem::path& path);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
