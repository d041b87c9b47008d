// An index of pairs: its rows, the checks of what it is given, and its file.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "base/scratch_memory.h"
#include "base/team.h"
#include "helip/matrix.h"
#include "helip/mine_options.h"
#include "helip/pair_index.h"
#include "helip/progress.h"
#include "io/column_reader.h"
#include "mine/corpus/corpus.h"
#include "mine/graph/product_graph.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

// Most pairs of an index: nodes have 32 bits.
inline constexpr std::int64_t kMostPairs = 0xfffffffe;

// Rows of one width that lie one after the other.
class RowBytes {
 public:
  explicit RowBytes(std::int64_t width) : width_(width) {}

  std::int64_t width() const noexcept { return width_; }
  const char* row(std::int64_t i) const noexcept { return data_ + i * width_; }
  // Shows rows that somebody else owns; reserve() copies the first `rows`.
  void show(const void* data) noexcept { data_ = static_cast<const char*>(data); }
  void reserve(std::int64_t rows, std::int64_t capacity);
  // After reserve().
  char* mutable_row(std::int64_t i) noexcept { return owned_.data() + i * width_; }

 private:
  std::int64_t width_;
  const char* data_ = nullptr;
  ScratchMemory owned_;
};

// What an index keeps of its pairs beside the graph. Rows are written where nobody looks yet, and
// count from publish() on.
class IndexRows {
 public:
  IndexRows(std::int64_t image_dimensions, std::int64_t text_dimensions);

  std::int64_t size() const noexcept { return size_; }
  std::int64_t capacity() const noexcept { return capacity_; }
  std::int64_t image_dimensions() const noexcept { return image_dimensions_; }
  std::int64_t text_dimensions() const noexcept { return text_dimensions_; }
  std::int64_t bytes_per_row() const noexcept;

  std::int64_t id(std::int64_t i) const noexcept {
    return *reinterpret_cast<const std::int64_t*>(ids_.row(i));
  }
  // The rows as they are kept, float16 [capacity, dimensions].
  MatrixView image() const noexcept { return view(image_, image_dimensions_); }
  MatrixView text() const noexcept { return view(text_, text_dimensions_); }
  // Whether the pair has no direction in one of the modalities.
  bool is_zero(std::int64_t i) const noexcept;
  const RowBytes& id_bytes() const noexcept { return ids_; }

  // Columns of a saved index; their owner must outlive this.
  void show(std::int64_t size, const MatrixView& ids, const MatrixView& image,
            const MatrixView& text) noexcept;
  // Those of others.
  void show(std::int64_t size, const IndexRows& others) noexcept;
  // Room for so many rows; what moves is what readers must not look at meanwhile.
  void reserve(std::int64_t capacity);
  // A thread's buffers.
  struct Buffers {
    std::vector<float> unit;
    LoadedRow image, text;
  };
  // Row `from` of a measured corpus, whose matrices these are.
  void write(std::int64_t row, const Corpus& corpus, const MatrixView& image,
             const MatrixView& text, std::int64_t from, std::int64_t id, Buffers& buffers);
  void publish(std::int64_t size) noexcept { size_ = size; }

 private:
  MatrixView view(const RowBytes& rows, std::int64_t dimensions) const noexcept {
    return {rows.row(0), capacity_, dimensions, DType::float16, rows.width(), nullptr};
  }

  const std::int64_t image_dimensions_, text_dimensions_;
  std::atomic<std::int64_t> size_ = 0;
  std::int64_t capacity_ = 0;
  RowBytes ids_, image_, text_;
};

// An index without what its threads wait for.
struct IndexParts {
  IndexParts(const PairIndexOptions& options, std::int64_t image_dimensions,
             std::int64_t text_dimensions, const Kernel& kernel)
      : rows(image_dimensions, text_dimensions),
        graph(PairCodec(image_dimensions, text_dimensions, false, kernel),
              {options.degree, options.breadth}) {}
  // Room for so many pairs. What is there may move, so nobody must look at it meanwhile.
  void reserve(ProductGraph::Room&& room) {
    const auto capacity = static_cast<std::int64_t>(room.levels.size());
    graph.reserve(std::move(room));
    rows.reserve(capacity);  // last, for its capacity is that of all
  }

  std::shared_ptr<const ColumnReader> reader;  // of what is mapped; nullptr: all is in memory
  IndexRows rows;
  ProductGraph graph;
};

// What lies in the directory of an index, mapped.
struct IndexFile {
  PairIndexOptions options;
  std::unique_ptr<IndexParts> parts;
};

// Compares every checksum, in stage "open", and refuses what an index cannot be. Throws Error: io,
// corrupt, mismatch, unsupported, cancelled.
IndexFile open_index(const std::filesystem::path& path, const Kernel& kernel,
                     const ProgressCallback& progress);
// A new directory, all or nothing, in stage "save". Throws Error: invalid_argument (something is
// there), io, corrupt (a mapped file was cut short meanwhile), cancelled.
void save_index(const std::filesystem::path& path, const PairIndexOptions& options,
                const IndexParts& parts, const ProgressCallback& progress);

inline constexpr std::int64_t kLeastDegree = 4;
inline constexpr std::int64_t kMostDegree = 1024;
inline constexpr std::int64_t kMostBreadth = 65536;
inline constexpr std::int64_t kMostId = std::numeric_limits<std::int64_t>::max() - 1;  // has a next

// Each throws invalid_argument.
void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most);
void check_index_options(const PairIndexOptions& options);
// The options by which the matrices are read: thresholds, shapes, dtypes and threads are checked as
// those of mining are.
MineOptions checked_matrices(const MatrixView& image, const MatrixView& text,
                             const PairIndexOptions& options, int threads);
void check_dimensions(const char* name, std::int64_t given, std::int64_t wanted);
// `ids`, or numbers from `first` on; refused where one is none of 0 .. kMostId, or there twice.
std::vector<std::int64_t> checked_ids(const std::vector<std::int64_t>& ids, std::int64_t rows,
                                      std::int64_t first);

// Whether they are within the bounds, as those of a saved index must be.
bool are_sound(const PairIndexOptions& options) noexcept;

}  // namespace helip::mining
