// Hard pair mining while embeddings come by: from a memory of those that came last, without a
// store.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "helip/export.h"
#include "helip/hard_pairs.h"
#include "helip/matrix.h"
#include "helip/progress.h"

namespace helip {

// How the pairs of a batch are looked for among the rows that are remembered.
enum class StreamingSearch : std::int8_t {
  scan,  // all of them: finds every pair
  hnsw,  // by hnswlib's graph, see pair_index.h: misses some, and is faster in a large memory
};

// k, image_max, text_max, min_score and signed_products: see MineOptions.
struct StreamingOptions {
  std::int64_t memory = 65536;  // rows that are remembered (M), >= 1
  std::int64_t k = 20;
  double image_max = 0.98;
  double text_max = 0.98;
  double min_score = 0.0;
  bool signed_products = false;
  int threads = 0;  // 0: all cores
  StreamingSearch search = StreamingSearch::scan;
};

// Remembers the M rows that came last, each id once. Each row of a new batch gets the k best pairs
// among them and the other rows of its batch: ids and scores are those that mine() gives for just
// these rows, in float64, on any number of threads. With search hnsw some pairs with remembered
// rows are missed; what is found has the same scores, on any number of threads.
//
// Rows are kept as they come, in float32; float64 rows are rounded to that first. At most
//     M · (4 · (d_image + d_text) + 80) bytes
// stay, of which only those of rows that came are touched; with search hnsw, of rows of M and of
// the largest batch, d_image + d_text + 450 bytes more each. A call on b rows and t threads takes
// up to
//     12·b·D + 40·(M + b) + t·(480·D + 400·b + b·(72·k + 2000)) bytes,  D = d_image + d_text,
// more while it runs. Not thread-safe. One that was moved from remembers nothing: size() and the
// dimensions are 0, options() the default ones; add(), remember() and copy_rows() throw
// Error(invalid_argument).
class HELIP_EXPORT StreamingMiner {
 public:
  // Throws Error: invalid_argument (a bound, with the value), out_of_memory.
  StreamingMiner(std::int64_t image_dim, std::int64_t text_dim, const StreamingOptions& options);
  ~StreamingMiner();
  StreamingMiner(StreamingMiner&&) noexcept;
  StreamingMiner& operator=(StreamingMiner&&) noexcept;

  // Row i of both matrices is the pair ids[i]. Returns its pool as row i of a band that begins at
  // 0; then the batch takes the place of the oldest rows. A row whose id is remembered supersedes
  // it: the old one is in no pool of this batch, and is forgotten. `image` [b, image_dim] and
  // `text` [b, text_dim] are float64, float32, float16, bfloat16 or int8.
  //
  // Throws Error and remembers nothing of the batch: invalid_argument (shapes, dtypes, an id that
  // is negative or twice in the batch, NaN or infinity with its row), out_of_memory, cancelled.
  HardPairBand add(const std::vector<std::int64_t>& ids, const MatrixView& image,
                   const MatrixView& text, const ProgressCallback& progress = {});
  // Remembers rows without mining, as if they came in this order.
  void remember(const std::vector<std::int64_t>& ids, const MatrixView& image,
                const MatrixView& text);
  void forget() noexcept;  // everything

  [[nodiscard]] std::int64_t size() const noexcept;  // rows that are remembered now
  [[nodiscard]] std::int64_t image_dim() const noexcept;
  [[nodiscard]] std::int64_t text_dim() const noexcept;
  [[nodiscard]] StreamingOptions options() const noexcept;

  // What remember() needs to bring another miner to the same state: ids from the oldest row to the
  // newest, and the rows in that order, image [size, image_dim] and text [size, text_dim].
  [[nodiscard]] std::vector<std::int64_t> ids() const;
  void copy_rows(float* image, float* text) const;

 private:
  struct Impl;
  Impl& impl() const;  // throws where it was moved from
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
