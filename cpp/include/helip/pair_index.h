// An index of pairs that answers for *new* pairs which of them are hard: the k pairs j of largest
//     score(q, j) = max(0, cos(image q, image j)) · max(0, cos(text q, text j))
// above zero among those that are no near duplicates of q, as in mine.h. For production pipelines:
// captions or images that arrive, checked against what is there.
//
// The search goes through hnswlib's graph with the product of both cosines as its distance, over
// int8 codes; scores are float64 products over float16 rows.
// docs/pair-index.md has the format, the precision and what was measured.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "helip/embedding_store.h"
#include "helip/export.h"
#include "helip/matrix.h"
#include "helip/progress.h"

namespace helip {

struct PairIndexOptions {
  double image_max = 0.98;    // a pair of greater image cosine is a near duplicate, no result
  double text_max = 0.98;     // likewise
  std::int64_t degree = 32;   // links of a pair: 4 .. 1024, even; more take memory and find more
  std::int64_t breadth = 80;  // of the searches that find the links: 1 .. 65536
  std::uint64_t seed = 0;     // of the order in which pairs are linked
};

// What was found for each query, best first: ids -1 and scores 0 from counts[i] on.
struct PairMatches {
  std::int64_t k = 0;
  std::vector<std::int64_t> ids;     // [queries, k]
  std::vector<float> scores;         // [queries, k]
  std::vector<std::int32_t> counts;  // [queries]
};

// Whether a pair of this id may be found. Called by any thread that searches.
using PairFilter = std::function<bool(std::int64_t id)>;

// Any number of threads may query at once, also while one adds or removes pairs; a query may find
// what is added so far. Moves, does not copy; not to be moved while another thread uses it. One
// that was moved from has size 0, 0 dimensions and the default options; its other methods throw
// Error(invalid_argument).
//
// Callbacks and filters must not use the index that calls them: it holds locks meanwhile. They may
// use others.
class HELIP_EXPORT PairIndex {
 public:
  // `image` [N, d_image], `text` [N, d_text] of any dtype; float16 rows are kept as they are,
  // others as unit vectors rounded to float16. `ids` [N], 0 .. 2^63 - 2, each once; empty: row
  // numbers. Rows of zeros and deleted rows count, but are never found. The same index for any
  // `threads` (0: all cores). Throws Error: invalid_argument (options, shapes, ids, NaN or infinity
  // with its row), cancelled, out_of_memory.
  [[nodiscard]] static PairIndex build(const MatrixView& image, const MatrixView& text,
                                       const PairIndexOptions& options = {},
                                       const std::vector<std::int64_t>& ids = {}, int threads = 0,
                                       const ProgressCallback& progress = {});
  // Ids are the rows of the store.
  [[nodiscard]] static PairIndex build(const EmbeddingStore& store,
                                       const PairIndexOptions& options = {}, int threads = 0,
                                       const ProgressCallback& progress = {});
  // Maps the rows of a saved index and compares every checksum, which reads all of it. Throws
  // Error: io, corrupt, mismatch (another format), unsupported (a newer one), cancelled.
  [[nodiscard]] static PairIndex open(const std::filesystem::path& path,
                                      const ProgressCallback& progress = {});
  // Writes a new directory, all or nothing. Throws Error: invalid_argument (something is there),
  // io, cancelled.
  void save(const std::filesystem::path& path, const ProgressCallback& progress = {}) const;

  // Writes a file that hnswlib 0.8 opens, all or nothing: space `ip` of image_dimensions() +
  // text_dimensions() float32, vectors [u; v] / sqrt(2) of the unit vectors of a pair, labels the
  // ids. Its distance is 1 minus the mean of the two cosines, where this index ranks by their
  // product. Throws Error: invalid_argument (something is there), io, cancelled.
  void save_hnswlib(const std::filesystem::path& path, const ProgressCallback& progress = {}) const;
  // Reads the vectors of such a file, whoever wrote it, and builds the graph anew: the first
  // `image_dimensions` of a vector are those of the image. What is marked as deleted is left out.
  // Throws Error: invalid_argument (vectors that are not of pairs, with the element), io, corrupt,
  // cancelled.
  [[nodiscard]] static PairIndex open_hnswlib(const std::filesystem::path& path,
                                              std::int64_t image_dimensions,
                                              const PairIndexOptions& options = {}, int threads = 0,
                                              const ProgressCallback& progress = {});

  PairIndex(PairIndex&&) noexcept;
  PairIndex& operator=(PairIndex&&) noexcept;
  ~PairIndex();

  // As a breadth: every pair is compared with the query, so that none is missed.
  static constexpr std::int64_t kEveryPair = -1;
  // The k best of each row of `image` [n, d_image] and `text` [n, d_text]. `breadth`: of the
  // search, at least k; 0 takes max(64, 2k); more finds more and takes longer in proportion.
  // `threads` 0: all cores, but few queries run in the calling thread. `allows`: where it lets few
  // through, all of those are scored, and none is missed. Throws Error:
  // invalid_argument, cancelled.
  [[nodiscard]] PairMatches query(const MatrixView& image, const MatrixView& text, std::int64_t k,
                                  std::int64_t breadth = 0, int threads = 0,
                                  const ProgressCallback& progress = {},
                                  const PairFilter& allows = {}) const;
  // The same of pairs of the index, by their ids, without themselves; k up to 65535. Throws Error
  // besides where an id is not there.
  [[nodiscard]] PairMatches near(const std::vector<std::int64_t>& ids, std::int64_t k,
                                 std::int64_t breadth = 0, int threads = 0,
                                 const ProgressCallback& progress = {},
                                 const PairFilter& allows = {}) const;

  // Adds pairs; empty `ids` go on from the greatest. An opened index is copied into memory first.
  // All pairs or none. Throws as build() does.
  void add(const MatrixView& image, const MatrixView& text,
           const std::vector<std::int64_t>& ids = {}, int threads = 0,
           const ProgressCallback& progress = {});

  // Pairs of these ids get other embeddings: the new ones are added, then the old ones are removed.
  // All or none. Throws as add() does, and where an id is not there.
  void replace(const MatrixView& image, const MatrixView& text,
               const std::vector<std::int64_t>& ids, int threads = 0,
               const ProgressCallback& progress = {});
  // Pairs of these ids are found no more; the next that are added take their memory. All or none.
  // An opened index is copied into memory first. Throws Error: invalid_argument (an id that is not
  // there, or is given twice), out_of_memory.
  void remove(const std::vector<std::int64_t>& ids);

  [[nodiscard]] std::int64_t size() const;              // without what was removed
  [[nodiscard]] std::vector<std::int64_t> ids() const;  // likewise, in no order
  [[nodiscard]] std::int64_t image_dimensions() const noexcept;
  [[nodiscard]] std::int64_t text_dimensions() const noexcept;
  [[nodiscard]] std::int64_t bytes() const;  // of rows, codes, ids and links
  [[nodiscard]] PairIndexOptions options() const noexcept;

 private:
  struct State;
  explicit PairIndex(std::unique_ptr<State> state);
  State& state() const;  // throws where it was moved from
  std::unique_ptr<State> state_;
};

}  // namespace helip
