#include "helip/streaming.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/refuse.h"
#include "base/team.h"
#include "helip/mine_options.h"
#include "io/mapped_files.h"
#include "mine/corpus/corpus.h"
#include "mine/corpus/mine_options.h"
#include "mine/kernel/kernel.h"
#include "mine/stream/row_memory.h"
#include "mine/stream/streaming_graph.h"
#include "mine/stream/streaming_search.h"

namespace helip {
namespace {

using mining::Kernel;
using mining::RowMemory;
using mining::StreamRow;

constexpr std::int64_t kMaxDimensions = std::int64_t{1} << 20;
constexpr std::int64_t kMaxMemory = 0x7fffffff;  // rows of memory and batch have 32-bit numbers

void check_within(const char* name, std::int64_t value, std::int64_t most) {
  if (value < 1 || value > most) {
    refuse(std::string(name) + " is " + std::to_string(value) + ", but must lie in 1 .. " +
           std::to_string(most));
  }
}

MineOptions mine_options(const StreamingOptions& options) {
  MineOptions result;
  result.k = options.k;
  result.image_max = options.image_max;
  result.text_max = options.text_max;
  result.min_score = options.min_score;
  result.signed_products = options.signed_products;
  result.threads = options.threads;
  return result;
}

void check_ids(const std::vector<std::int64_t>& ids, std::int64_t rows) {
  if (static_cast<std::int64_t>(ids.size()) != rows) {
    refuse("there are " + std::to_string(ids.size()) + " ids for " + std::to_string(rows) +
           " rows of embeddings; give one for each");
  }
  std::vector<std::int64_t> sorted = ids;
  std::sort(sorted.begin(), sorted.end());
  if (!sorted.empty() && sorted.front() < 0) {
    const auto at = std::find_if(ids.begin(), ids.end(), [](std::int64_t id) { return id < 0; });
    refuse("id " + std::to_string(*at) + " of row " + std::to_string(at - ids.begin()) +
           " is negative; ids are row numbers of the data set, from 0 on");
  }
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end()) {
    refuse("id " + std::to_string(*twice) + " is twice in the batch; give each row once");
  }
}

// One modality of a batch in float32, as it is remembered.
struct Modality32 {
  std::vector<float> values;    // [rows, dimensions]
  std::vector<double> lengths;  // [rows]
};

// A value that a cosine does not depend on is taken out: the scale of int8 but for its sign, and of
// float64, whose range float32 does not have, a power of two.
void read_values(const MatrixView& view, std::int64_t row, std::vector<double>& wide, float* out) {
  MatrixView codes = view;
  codes.scale = nullptr;
  if (view.deleted != nullptr && view.deleted[row] != 0) {
    std::fill_n(out, view.cols, 0.0F);
    return;
  }
  if (view.dtype != DType::float64) {
    read_row(codes, row, out);
    if (view.dtype == DType::int8) {
      const float scale = view.scale[row];
      const float factor = scale > 0.0F ? 1.0F : scale < 0.0F ? -1.0F : 0.0F;
      if (!std::isfinite(scale))
        out[0] = scale;  // refused below
      else if (factor != 1.0F)
        std::for_each(out, out + view.cols, [&](float& v) { v *= factor; });
    }
    return;
  }
  wide.resize(static_cast<std::size_t>(view.cols));
  read_row(codes, row, wide.data());
  double largest = 0.0;
  for (const double value : wide) largest = std::max(largest, std::abs(value));
  const int exponent = largest > 0.0 && std::isfinite(largest) ? -std::ilogb(largest) : 0;
  for (std::size_t i = 0; i < wide.size(); ++i) {
    out[i] = static_cast<float>(std::scalbn(wide[i], exponent));
  }
}

Modality32 read_modality(const char* name, const MatrixView& view,
                         const std::vector<std::int64_t>& ids, const Kernel& kernel) {
  Modality32 read;
  read.values.resize(static_cast<std::size_t>(view.rows * view.cols));
  read.lengths.resize(static_cast<std::size_t>(view.rows));
  std::vector<double> wide;
  for (std::int64_t row = 0; row < view.rows; ++row) {
    float* values = read.values.data() + row * view.cols;
    read_values(view, row, wide, values);
    const double length = std::sqrt(kernel.dot_float(values, values, view.cols));
    if (!std::isfinite(length)) {
      refuse(std::string(name) + " embedding of row " + std::to_string(row) + " (id " +
             std::to_string(ids[static_cast<std::size_t>(row)]) +
             ") holds a NaN or an infinity; leave that row out or give zeros");
    }
    read.lengths[static_cast<std::size_t>(row)] = length;
  }
  require_whole(view.data);
  return read;
}

}  // namespace

struct StreamingMiner::Impl {
  Impl(std::int64_t image_dim_, std::int64_t text_dim_, const StreamingOptions& options_)
      : image_dim(image_dim_),
        text_dim(text_dim_),
        options(options_),
        memory(image_dim_, text_dim_, options_.memory) {}

  struct Batch {
    Modality32 image, text;
    std::vector<StreamRow> rows;
  };

  void check_dimensions(const char* name, const MatrixView& view, std::int64_t dimensions) const {
    if (view.cols == dimensions) return;
    refuse(std::string(name) + " embeddings have " + std::to_string(view.cols) +
           " dimensions, but the memory is of " + std::to_string(dimensions) +
           "; make the miner with " + name + "_dim = " + std::to_string(view.cols));
  }

  Batch read(const std::vector<std::int64_t>& ids, const MatrixView& image,
             const MatrixView& text) const {
    check_dimensions("image", image, image_dim);
    check_dimensions("text", text, text_dim);
    mining::validate(mining::Matrices{image, text}, mine_options(options));
    check_ids(ids, image.rows);
    Batch batch{
        read_modality("image", image, ids, kernel), read_modality("text", text, ids, kernel), {}};
    batch.rows.reserve(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      batch.rows.push_back({ids[i],
                            batch.image.values.data() + static_cast<std::int64_t>(i) * image_dim,
                            batch.text.values.data() + static_cast<std::int64_t>(i) * text_dim,
                            batch.image.lengths[i], batch.text.lengths[i]});
    }
    return batch;
  }

  // Of a batch, measured, as the graph codes it.
  mining::Corpus corpus_of(const Batch& batch, Team& team) const {
    const auto count = static_cast<std::int64_t>(batch.rows.size());
    const auto view = [count](const Modality32& part, std::int64_t cols) {
      return MatrixView{part.values.data(), count, cols, DType::float32, 4 * cols};
    };
    mining::Corpus corpus(view(batch.image, image_dim), view(batch.text, text_dim),
                          mining::rules_of(mine_options(options)), kernel);
    corpus.measure(team, {batch.image.lengths, batch.text.lengths});
    return corpus;
  }

  HardPairBand add(const Batch& batch, const ProgressCallback& progress) {
    Team team(options.threads, progress);
    HardPairBand found;
    if (options.search == StreamingSearch::hnsw) {
      const auto count = static_cast<std::int64_t>(batch.rows.size());
      const mining::Corpus corpus = corpus_of(batch, team);
      team.begin_stage("mine", count, 3 * count);
      found = own_graph().search(batch.rows, corpus, options.k, team);
      own_graph().put(batch.rows, corpus, team);
    } else {
      found = scan(batch, team);
      memory.put(batch.rows);
    }
    return found;
  }

  void remember(const Batch& batch) {
    if (options.search == StreamingSearch::hnsw) {
      const ProgressCallback silent;
      Team team(options.threads, silent);
      own_graph().put(batch.rows, corpus_of(batch, team), team);
    } else {
      memory.put(batch.rows);
    }
  }

  mining::StreamingGraph& own_graph() {
    if (!graph) {
      graph = std::make_unique<mining::StreamingGraph>(
          memory, mining::StreamDimensions{image_dim, text_dim},
          mining::rules_of(mine_options(options)), kernel);
    }
    return *graph;
  }

  HardPairBand scan(const Batch& batch, Team& team) const {
    std::vector<StreamRow> rows = batch.rows;
    std::vector<std::int64_t> superseded;
    for (const StreamRow& row : batch.rows) {
      if (memory.holds(row.id)) superseded.push_back(row.id);
    }
    std::sort(superseded.begin(), superseded.end());
    rows.reserve(rows.size() + static_cast<std::size_t>(memory.size()));
    memory.visit([&](const StreamRow& row) {
      if (!std::binary_search(superseded.begin(), superseded.end(), row.id)) rows.push_back(row);
    });
    team.begin_stage("mine", static_cast<std::int64_t>(batch.rows.size()),
                     static_cast<std::int64_t>(rows.size()));
    return mining::search_stream(rows, static_cast<std::int64_t>(batch.rows.size()), options.k,
                                 {image_dim, text_dim}, mining::rules_of(mine_options(options)),
                                 kernel, team);
  }

  const std::int64_t image_dim, text_dim;
  const StreamingOptions options;
  const Kernel& kernel = mining::select_kernel();
  RowMemory memory;
  std::unique_ptr<mining::StreamingGraph> graph;  // of what is remembered
};

StreamingMiner::StreamingMiner(std::int64_t image_dim, std::int64_t text_dim,
                               const StreamingOptions& options) {
  check_within("image_dim", image_dim, kMaxDimensions);
  check_within("text_dim", text_dim, kMaxDimensions);
  check_within("memory", options.memory, kMaxMemory);
  if (options.search == StreamingSearch::hnsw) {
    check_within("image_dim of search hnsw", image_dim, mining::kMostCodeDimensions);
    check_within("text_dim of search hnsw", text_dim, mining::kMostCodeDimensions);
  }
  mining::validate(mining::Matrices{}, mine_options(options));
  try {
    impl_ = std::make_unique<Impl>(image_dim, text_dim, options);
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory,
                "there is not enough memory for " + std::to_string(options.memory) + " rows of " +
                    std::to_string(image_dim) + " + " + std::to_string(text_dim) +
                    " dimensions; lower memory");
  }
}
StreamingMiner::~StreamingMiner() = default;
StreamingMiner::StreamingMiner(StreamingMiner&&) noexcept = default;
StreamingMiner& StreamingMiner::operator=(StreamingMiner&&) noexcept = default;

StreamingMiner::Impl& StreamingMiner::impl() const {
  if (impl_) return *impl_;
  refuse("this miner was moved from; use the one that it was moved to");
}

HardPairBand StreamingMiner::add(const std::vector<std::int64_t>& ids, const MatrixView& image,
                                 const MatrixView& text, const ProgressCallback& progress) {
  return mining::entry_point([&] {
    const Impl::Batch batch = impl().read(ids, image, text);
    return impl().add(batch, progress);
  });
}

void StreamingMiner::remember(const std::vector<std::int64_t>& ids, const MatrixView& image,
                              const MatrixView& text) {
  mining::entry_point([&] { impl().remember(impl().read(ids, image, text)); });
}

void StreamingMiner::forget() noexcept {
  if (!impl_) return;
  impl_->graph.reset();
  impl_->memory.clear();
}

std::int64_t StreamingMiner::size() const noexcept { return impl_ ? impl_->memory.size() : 0; }
std::int64_t StreamingMiner::image_dim() const noexcept { return impl_ ? impl_->image_dim : 0; }
std::int64_t StreamingMiner::text_dim() const noexcept { return impl_ ? impl_->text_dim : 0; }
StreamingOptions StreamingMiner::options() const noexcept {
  return impl_ ? impl_->options : StreamingOptions{};
}

std::vector<std::int64_t> StreamingMiner::ids() const {
  std::vector<std::int64_t> ids;
  ids.reserve(static_cast<std::size_t>(size()));
  if (impl_) impl_->memory.visit([&](const StreamRow& row) { ids.push_back(row.id); });
  return ids;
}

void StreamingMiner::copy_rows(float* image, float* text) const {
  const Impl& own = impl();
  own.memory.visit([&](const StreamRow& row) {
    image = std::copy_n(row.image, own.image_dim, image);
    text = std::copy_n(row.text, own.text_dim, text);
  });
}

}  // namespace helip
