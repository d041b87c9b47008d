// Approximate mining by graphs (HNSW, arXiv 1603.09320) over the product kernel itself.
//
// Adding rows to one graph from several threads gives another graph each time. So rows are dealt
// out to a number of graphs that depends on N alone; each is built by one thread, in order, and
// every target is looked up in all of them.
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>

#include "engine.h"
#include "helip/error.h"
#include "hnsw.h"

namespace helip::mining {
namespace {

// What the distance needs to know; hnswlib hands it over as an untyped pointer.
struct Metric {
  const Kernel* kernel;
  std::int64_t image_dimensions;
  std::int64_t text_dimensions;
  bool signed_products;
};

// 1 - score. Where a similarity is negative every score is 0; there the distance goes on growing
// with it, so that a search starting far away finds its way.
float product_distance(const void* a, const void* b, const void* parameter) {
  const Metric& metric = *static_cast<const Metric*>(parameter);
  const auto* left = static_cast<const float*>(a);
  const auto* right = static_cast<const float*>(b);
  const std::int64_t image_dimensions = metric.image_dimensions;
  float image = 1.0F;
  if (image_dimensions > 0) image = metric.kernel->dot_short(left, right, image_dimensions);
  float text = 1.0F;
  if (metric.text_dimensions > 0) {
    text = metric.kernel->dot_short(left + image_dimensions, right + image_dimensions,
                                    metric.text_dimensions);
  }
  if (!metric.signed_products && (image <= 0.0F || text <= 0.0F)) {
    return 1.0F - std::min(image, text);
  }
  return 1.0F - image * text;
}

class ProductSpace final : public hnswlib::SpaceInterface<float> {
 public:
  explicit ProductSpace(const Corpus& corpus)
      : metric_{&corpus.kernel(), corpus.image_dimensions(), corpus.text_dimensions(),
                corpus.rules().signed_products} {}

  std::size_t get_data_size() override { return sizeof(float) * dimensions(); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return product_distance; }
  void* get_dist_func_param() override { return &metric_; }
  std::size_t dimensions() const {
    return static_cast<std::size_t>(metric_.image_dimensions + metric_.text_dimensions);
  }

 private:
  Metric metric_;
};

using Graph = hnswlib::HierarchicalNSW<float>;

class GraphMiner {
 public:
  explicit GraphMiner(const Context& context)
      : context_(context), corpus_(context.corpus), space_(corpus_) {}

  void build() {
    const std::int64_t rows = corpus_.size();
    const std::int64_t count = hnsw_graphs(rows);
    graphs_.resize(static_cast<std::size_t>(count));
    context_.team.begin_stage("build", rows, rows);
    context_.team.for_blocks(count, 1, [&](std::int64_t graph, std::int64_t, int) {
      graphs_[static_cast<std::size_t>(graph)] = build_graph(graph, count);
    });
    context_.team.end_stage();
  }

  std::int64_t graphs() const { return static_cast<std::int64_t>(graphs_.size()); }
  std::int64_t largest_graph() const { return (corpus_.size() + graphs() - 1) / graphs(); }

  void set_breadth(std::int64_t ef) {
    for (const auto& graph : graphs_) graph->setEf(static_cast<std::size_t>(ef));
    ef_ = ef;
  }

  // Pools of targets id(0) .. id(band rows - 1).
  template <typename Id>
  void search(HardPairBand& band, const Id& id, DropCounts& drops) {
    const auto count = static_cast<std::int64_t>(band.counts.size());
    std::vector<std::uint32_t> targets;
    for (std::int64_t i = 0; i < count; ++i) targets.push_back(static_cast<std::uint32_t>(id(i)));
    const MineOptions& options = context_.options;
    Pools pools(corpus_, targets, options.k, options.skip, context_.groups);
    std::mutex mutex;
    context_.team.for_blocks(count, 16, [&](std::int64_t row, std::int64_t end, int) {
      Searcher searcher(*this, pools);
      DropCounts counts;
      for (std::int64_t i = row; i < end && !context_.team.stopped(); ++i) {
        searcher.search(id(i), i);
        pools.finish(i, band, i, counts);
      }
      context_.team.add_work(end - row);
      const std::lock_guard lock(mutex);
      drops.add(counts);
    });
  }

 private:
  std::unique_ptr<Graph> build_graph(std::int64_t graph, std::int64_t count) {
    const std::int64_t rows = corpus_.size();
    auto built = std::make_unique<Graph>(
        &space_, static_cast<std::size_t>((rows - graph + count - 1) / count), kHnswDegree,
        kHnswBuildBreadth,
        static_cast<std::size_t>(context_.options.seed + static_cast<std::uint64_t>(graph)));
    std::vector<float> point(space_.dimensions());
    PointReader reader(corpus_);
    for (std::int64_t row = graph; row < rows && !context_.team.stopped(); row += count) {
      // A zero row scores 0 with every other and would only hang about unlinked.
      if (!corpus_.is_zero(row)) {
        reader.read(row, point.data());
        built->addPoint(point.data(), static_cast<hnswlib::labeltype>(row));
      }
      context_.team.add_work(1);
    }
    return built;
  }

  class PointReader {
   public:
    explicit PointReader(const Corpus& corpus) : corpus_(corpus) {}
    void read(std::int64_t row, float* point) {
      if (corpus_.image() != nullptr) corpus_.image()->unit(row, point, image_);
      if (corpus_.text() != nullptr) {
        corpus_.text()->unit(row, point + corpus_.image_dimensions(), text_);
      }
    }

   private:
    const Corpus& corpus_;
    Scratch image_;
    Scratch text_;
  };

  class Searcher {
   public:
    Searcher(const GraphMiner& miner, Pools& pools)
        : miner_(miner),
          pools_(pools),
          reader_(miner.corpus_),
          scorer_(miner.corpus_),
          point_(miner.space_.dimensions()) {}

    // Target `slot` of the pools, row `target`, meets what its search finds.
    void search(std::int64_t target, std::int64_t slot) {
      if (miner_.corpus_.is_zero(target)) return;
      reader_.read(target, point_.data());
      for (const auto& graph : miner_.graphs_) {
        auto found = graph->searchKnn(point_.data(), static_cast<std::size_t>(miner_.ef_));
        for (; !found.empty(); found.pop()) {
          const auto id = static_cast<std::int64_t>(found.top().second);
          if (id != target) pools_.meet(slot, id, -1, scorer_);
        }
      }
    }

   private:
    const GraphMiner& miner_;
    Pools& pools_;
    PointReader reader_;
    Scorer scorer_;
    std::vector<float> point_;
  };

  const Context& context_;
  const Corpus& corpus_;
  ProductSpace space_;
  std::vector<std::unique_ptr<Graph>> graphs_;
  std::int64_t ef_ = 0;
};

// Doubles the breadth of the search until the sample's recall is what was asked for.
RecallEstimate widen(GraphMiner& miner, const RecallSample& sample, const Context& context,
                     std::int64_t& ef) {
  const std::int64_t widest =
      std::min(miner.largest_graph(), hnsw_last_breadth(context.kept(), miner.graphs()));
  ef = std::min(widest, hnsw_first_breadth(context.kept(), miner.graphs()));
  for (;;) {
    miner.set_breadth(ef);
    const auto& targets = sample.targets();
    const auto count = static_cast<std::int64_t>(targets.size());
    HardPairBand found = make_band(0, count, context.options.k);
    DropCounts unused;
    context.team.begin_stage("tune", count, count);
    miner.search(
        found, [&](std::int64_t i) { return targets[static_cast<std::size_t>(i)]; }, unused);
    context.team.end_stage();
    const RecallEstimate recall = sample.estimate(found);
    if (recall.estimate >= context.options.recall || ef >= widest) return recall;
    ef = std::min(widest, 2 * ef);
  }
}

}  // namespace

std::int64_t hnsw_graphs(std::int64_t rows) noexcept {
  return std::max<std::int64_t>(1, (rows + kHnswGraphRows - 1) / kHnswGraphRows);
}

std::int64_t hnsw_first_breadth(std::int64_t k, std::int64_t graphs) noexcept {
  return 32 + (k + k / 2) / graphs;
}

std::int64_t hnsw_last_breadth(std::int64_t k, std::int64_t graphs) noexcept {
  return std::max(kHnswWidest, 2 * hnsw_first_breadth(k, graphs));
}

Report mine_hnsw(const Context& context, HardPairSink& sink) try {
  const RecallSample sample(context);
  GraphMiner miner(context);
  miner.build();

  Report report;
  report.graphs = miner.graphs();
  report.has_recall = true;
  report.recall = widen(miner, sample, context, report.ef);

  const std::int64_t rows = context.corpus.size();
  context.team.begin_stage("mine", rows, rows);
  const std::int64_t step = band_rows_for(context.options.k);
  for (std::int64_t first = 0; first < rows; first += step) {
    HardPairBand band = make_band(first, std::min(step, rows - first), context.options.k);
    miner.search(band, [first](std::int64_t i) { return first + i; }, report.drops);
    sink.write(band);
  }
  context.team.end_stage();
  return report;
} catch (const Error&) {
  throw;
} catch (const std::runtime_error& error) {
  // hnswlib reports a failed malloc this way.
  throw Error(ErrorCode::out_of_memory,
              std::string("the graph index could not be built: ") + error.what() +
                  "; use method sample or exact, whose memory is bounded");
}

}  // namespace helip::mining
