// Approximate mining by clusters: the rows of a cluster are compared with those of the clusters
// closest to it, then with the neighbours of their neighbours, until enough is found.
// docs/method.md says why the measured recall may be believed.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <optional>
#include <span>

#include "base/scratch_memory.h"
#include "mine/budget/budget.h"
#include "mine/method/method.h"
#include "mine/method/recall_sample.h"
#include "mine/pool/bands.h"

namespace helip::mining {
namespace {

constexpr int kPasses = 2;              // most, before more clusters are compared
constexpr double kWorthwhile = 0.2;     // share of what is missing that a pass must find
constexpr double kMostWidenings = 3.0;  // looked ahead
constexpr std::uint32_t kNone = ~0U;

// Which pairs of clusters have been compared.
class ComparedClusters {
 public:
  explicit ComparedClusters(const RowOrder& order) : order_(order), partners_(order.near.size()) {}
  // Clusters that one was compared with, ascending.
  const std::vector<std::uint32_t>& partners(std::uint32_t cluster) const {
    return partners_[cluster];
  }
  // False if they were.
  bool add(std::uint32_t a, std::uint32_t b) {
    if (!insert(partners_[a], b)) return false;
    if (a != b) insert(partners_[b], a);
    pairs_ += pairs_of(a, b);
    return true;
  }
  std::int64_t pairs_of(std::uint32_t a, std::uint32_t b) const {
    return a == b ? size(a) * (size(a) - 1) / 2 : size(a) * size(b);
  }
  double share() const {
    const auto rows = static_cast<double>(order_.rows.size());
    return rows < 2.0 ? 1.0 : static_cast<double>(pairs_) / (rows * (rows - 1.0) / 2.0);
  }

 private:
  static bool insert(std::vector<std::uint32_t>& sorted, std::uint32_t value) {
    const auto at = std::lower_bound(sorted.begin(), sorted.end(), value);
    if (at != sorted.end() && *at == value) return false;
    sorted.insert(at, value);
    return true;
  }
  std::int64_t size(std::uint32_t cluster) const {
    return order_.begins[cluster + 1] - order_.begins[cluster];
  }

  const RowOrder& order_;
  std::vector<std::vector<std::uint32_t>> partners_;
  std::int64_t pairs_ = 0;
};

// What a thread remembers while rows list the neighbours of their neighbours.
struct Listed {
  std::vector<std::uint32_t> by;  // [places]: the last target that listed a place
  std::vector<bool> partners;     // [clusters]: whether they were compared with that of the target
  std::uint32_t cluster = kNone;  // of the target
};

// One process after another may do its rounds, and slices of them: what an earlier one has done is
// gone through again without scoring a pair. Processes may share a round.
class PartitionMiner {
 public:
  PartitionMiner(MethodContext& context, const RecallSample& sample)
      : context_(context),
        sample_(sample),
        prepared_(context.prepared()),
        order_(prepared_.order()),
        places_(static_cast<std::int64_t>(order_.rows.size())),
        clusters_(static_cast<std::int64_t>(order_.near.size())),
        neighbours_(std::min(kNeighbours, context.kept())),
        compared_(order_),
        pools_(context.corpus, order_.rows, context.options.k, context.options.skip, context.groups,
               pool_folder()),
        slots_(static_cast<std::size_t>(context.corpus.size()), -1),
        cluster_of_(order_.rows.size()) {
    for (std::int64_t place = 0; place < places_; ++place) {
      slots_[order_.rows[static_cast<std::size_t>(place)]] = place;
    }
    for (std::int64_t c = 0; c < clusters_; ++c) {
      std::fill(cluster_of_.begin() + order_.begins[static_cast<std::size_t>(c)],
                cluster_of_.begin() + order_.begins[static_cast<std::size_t>(c) + 1],
                static_cast<std::uint32_t>(c));
    }
    if (const SavedMethodState* saved = context.saved()) restore(*saved);
  }

  const ComparedClusters& compared() const { return compared_; }
  std::int64_t near() const { return near_; }
  std::int64_t passes() const { return passes_; }
  Pools& pools() { return pools_; }
  const std::vector<std::int64_t>& slots() const { return slots_; }

  // Each of the rounds returns the recall after it; none: other processes have to work first.

  // The first round. Thresholds come from clusters that are compared, so that a pool is filled by
  // what reaches its threshold.
  std::optional<RecallEstimate> begin() {
    near_ = std::min(kPartitionNear, clusters_);
    ClusterPartners partners(order_.near.size());
    for (std::uint32_t c = 0; c < order_.near.size(); ++c) {
      const auto& closest = order_.near[c];
      const auto wanted = static_cast<std::size_t>(
          std::max(near_, seeding_clusters(order_, context_.corpus, c, context_.kept())));
      add(c,
          {closest.begin(),
           closest.begin() + static_cast<std::ptrdiff_t>(std::min(wanted, closest.size()))},
          partners);
    }
    if (!is_restored_) {
      prepared_.sweep().seed_by_clusters(context_.kept(), pools_, context_.team);
    }
    return compare(partners);
  }

  // Twice as many clusters are compared.
  std::optional<RecallEstimate> widen() {
    near_ = std::min(2 * near_, clusters_);
    ClusterPartners partners(order_.near.size());
    const auto closest = near_clusters(order_, near_, context_.options.signed_products,
                                       context_.corpus.kernel(), context_.team);
    for (std::uint32_t c = 0; c < closest.size(); ++c) add(c, closest[c], partners);
    return compare(partners);
  }

  // Every row is compared with the neighbours of its neighbours, but for those of clusters that its
  // own was compared with.
  std::optional<RecallEstimate> refine() {
    ++passes_;
    pools_.expect_repeats();
    if (done_before()) return end_round();
    if (!has_neighbours_) take_neighbours();
    std::vector<Listed> all_listed(static_cast<std::size_t>(context_.team.size()));
    const Sweep::Candidates candidates = [&](std::int64_t target, int thread,
                                             std::vector<std::uint32_t>& places) {
      const auto own = static_cast<std::uint32_t>(target);
      Listed& listed = all_listed[static_cast<std::size_t>(thread)];
      move_to(cluster_of_[own], listed);
      for (std::int64_t i = 0; i < neighbours_; ++i) {
        const std::uint32_t neighbour = neighbours_of(own)[i];
        if (neighbour == kNone) break;
        for (std::int64_t j = 0; j < neighbours_; ++j) {
          const std::uint32_t place = neighbours_of(neighbour)[j];
          if (place == kNone) break;
          if (listed.by[place] == own) continue;
          listed.by[place] = own;
          if (!listed.partners[cluster_of_[place]]) places.push_back(place);
        }
      }
    };
    return run_round("refine", std::vector<std::int64_t>(order_.rows.size(), 1),
                     [&](std::int64_t first, std::int64_t last) {
                       prepared_.sweep().run_candidates(candidates, first, last, pools_,
                                                        context_.team);
                     });
  }

  // Between rounds, where that is due.
  void save_if_due() {
    if (context_.checkpoint != nullptr && context_.checkpoint->due()) save(0);
  }

 private:
  // Pools and neighbours of all rows are kept at a time: on disk where memory is too small.
  std::filesystem::path pool_folder() const {
    const std::int64_t bytes =
        places_ *
            (Pools::bytes_per_target(context_.options.k, context_.options.skip) + 4 * neighbours_) +
        bytes_of_notes(places_, context_.team.size());
    const bool needs_codes = context_.rounds == nullptr || context_.rounds->needs_codes();
    const std::int64_t memory = needs_codes ? prepared_.memory_left() : context_.memory;
    return bytes > memory ? context_.scratch : std::filesystem::path();
  }

  void move_to(std::uint32_t cluster, Listed& listed) const {
    if (listed.cluster == cluster) return;
    if (listed.cluster == kNone) {
      listed.by.assign(order_.rows.size(), kNone);
      listed.partners.resize(order_.near.size());
    } else {
      for (const std::uint32_t partner : compared_.partners(listed.cluster))
        listed.partners[partner] = false;
    }
    for (const std::uint32_t partner : compared_.partners(cluster)) listed.partners[partner] = true;
    listed.cluster = cluster;
  }

  void add(std::uint32_t cluster, const std::vector<std::uint32_t>& others,
           ClusterPartners& partners) {
    for (const std::uint32_t other : others) {
      if (compared_.add(cluster, other)) partners[cluster].push_back(other);
    }
  }

  std::optional<RecallEstimate> compare(const ClusterPartners& partners) {
    if (done_before()) return end_round();
    std::vector<std::int64_t> pairs(partners.size());
    for (std::uint32_t c = 0; c < partners.size(); ++c) {
      for (const std::uint32_t other : partners[c]) pairs[c] += compared_.pairs_of(c, other);
    }
    return run_round("mine", std::move(pairs), [&](std::int64_t first, std::int64_t last) {
      prepared_.sweep().run_clusters(partners, first, last, pools_, context_.team);
    });
  }

  // `work`: of each unit.
  template <typename Body>
  std::optional<RecallEstimate> run_round(const char* stage, std::vector<std::int64_t> work,
                                          const Body& body) {
    const auto units = static_cast<std::int64_t>(work.size());
    const auto sum = [&work](std::int64_t first, std::int64_t last) {
      return std::accumulate(work.begin() + first, work.begin() + last, std::int64_t{0});
    };
    if (context_.rounds == nullptr) {
      context_.team.begin_stage(stage, places_, sum(0, units), sum(0, next_));
      in_slices(
          context_.checkpoint, context_.team, next_, units, [&](std::int64_t unit) { save(unit); },
          body);
      context_.team.end_stage();
      return end_round();
    }
    MethodRound round;
    round.number = static_cast<std::int64_t>(round_);
    round.run = [&, sum](std::int64_t first, std::int64_t last) {
      context_.team.begin_stage(stage, places_, std::max<std::int64_t>(1, sum(first, last)));
      body(first, last);
      context_.team.end_stage();
    };
    round.save = [&] {
      if (!is_restored_ || restored_rounds_ != recalls_.size()) save(0);
    };
    round.work = work;
    if (!context_.rounds->see_to(round, order_.rows, pools_)) return {};
    return end_round();
  }

  // Whether an earlier process has ended the round that comes now.
  bool done_before() const { return round_ < recalls_.size(); }
  RecallEstimate end_round() {
    if (!done_before()) {
      recalls_.push_back(measure());
      next_ = 0;
      has_neighbours_ = false;
    }
    return recalls_[round_++];
  }
  RecallEstimate measure() {
    const auto count = static_cast<std::int64_t>(sample_.targets().size());
    HardPairBand found = make_band(0, count, context_.options.k);
    DropCounts unused;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = sample_.targets()[static_cast<std::size_t>(i)];
      const std::int64_t slot = slots_[static_cast<std::size_t>(row)];
      if (slot >= 0) pools_.finish(slot, found, i, unused);
    }
    return sample_.estimate(found);
  }

  // Before cluster or target `next` of the round that comes now.
  void save(std::int64_t next) {
    MethodState state;
    state.order = &order_;
    state.sample = &sample_.exact();
    state.pools = &pools_;
    state.pool_count = places_;
    state.next = next;
    state.recalls = recalls_;
    if (has_neighbours_) state.neighbours = neighbours();
    context_.save(state);
  }
  void restore(const SavedMethodState& saved) {
    is_restored_ = true;
    recalls_ = saved.recalls();
    restored_rounds_ = recalls_.size();
    next_ = saved.next(places_);
    saved.read_pools(pools_, context_.corpus.size(), places_);
    if (!saved.has_neighbours()) return;
    make_graph();
    saved.read_neighbours(neighbours(), places_, kNone);
    has_neighbours_ = true;
  }

  // As they are now, since pools change while rows are compared.
  void take_neighbours() {
    make_graph();
    context_.team.for_blocks(places_, 1024, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t place = begin; place < end && !context_.team.stopped(); ++place) {
        std::uint32_t* out = neighbours_of(static_cast<std::uint32_t>(place));
        std::fill_n(out, neighbours_, kNone);
        const std::vector<Scored> pool = pools_.sorted(place);
        const auto count = std::min(neighbours_, static_cast<std::int64_t>(pool.size()));
        for (std::int64_t i = 0; i < count; ++i) {
          const auto row = static_cast<std::size_t>(pool[static_cast<std::size_t>(i)].id);
          out[i] = static_cast<std::uint32_t>(slots_[row]);
        }
      }
    });
    has_neighbours_ = true;
  }
  void make_graph() {
    if (graph_.data() != nullptr) return;
    const std::int64_t bytes = places_ * neighbours_ * 4;
    const std::filesystem::path folder = pool_folder();
    graph_ = folder.empty() ? ScratchMemory(bytes) : ScratchMemory(bytes, folder);
  }
  std::span<std::uint32_t> neighbours() const {
    return {neighbours_of(0), static_cast<std::size_t>(places_ * neighbours_)};
  }
  std::uint32_t* neighbours_of(std::uint32_t place) const {
    return reinterpret_cast<std::uint32_t*>(graph_.data()) + place * neighbours_;
  }

  MethodContext& context_;
  const RecallSample& sample_;
  PreparedCorpus& prepared_;
  const RowOrder& order_;
  const std::int64_t places_;
  const std::int64_t clusters_;
  const std::int64_t neighbours_;
  ComparedClusters compared_;
  Pools pools_;
  std::vector<std::int64_t> slots_;        // row -> place, -1 for a zero row
  std::vector<std::uint32_t> cluster_of_;  // [places]
  ScratchMemory graph_;                    // uint32 [places, neighbours_], best first
  std::int64_t near_ = 0;
  std::int64_t passes_ = 0;
  bool has_neighbours_ = false;  // of the round that comes now
  bool is_restored_ = false;
  std::size_t restored_rounds_ = 0;
  std::vector<RecallEstimate> recalls_;  // after each round
  std::size_t round_ = 0;                // that comes now
  std::int64_t next_ = 0;                // cluster or target of the first that is not done
};

// Writes nothing and says false where all pairs had better be compared. Writes nothing either where
// other processes have to work first.
bool mine_clusters(MethodContext& context, HardPairSink& sink, MethodReport& report) {
  const double target = context.options.recall;
  const RecallSample sample(context);
  PartitionMiner miner(context, sample);
  std::optional<RecallEstimate> recall = miner.begin();
  while (recall && recall->low < target) {
    for (int pass = 0; pass < kPasses && recall && recall->low < target; ++pass) {
      const double missing = 1.0 - recall->estimate;
      recall = miner.refine();
      if (recall && missing - (1.0 - recall->estimate) < kWorthwhile * missing) break;
    }
    if (!recall || recall->low >= target) break;
    if (miner.compared().share() * std::exp2(widenings(*recall, target)) > kMostToCompare)
      return false;
    recall = miner.widen();
  }
  if (!recall) return true;
  miner.save_if_due();

  report.has_recall = true;
  report.recall = *recall;
  report.partition.clusters = static_cast<std::int64_t>(context.prepared().order().near.size());
  report.partition.near = miner.near();
  report.partition.passes = miner.passes();
  report.partition.compared = miner.compared().share();
  const std::int64_t rows = context.corpus.size();
  context.drop_codes();
  context.team.begin_stage("write", rows, 1);
  write_pools(miner.pools(), miner.slots(), 0, context.options.k, sink, report.drops, context.team);
  context.team.end_stage();
  return true;
}

}  // namespace

MethodReport mine_partition(MethodContext& context, const TargetRange& targets,
                            HardPairSink& sink) {
  if (context.corpus.queries() > 0) return mine_partition_of_queries(context, targets, sink);
  MethodReport report;
  report.drops.listed = context.list_drops;
  return partition_has_clusters(context) && mine_clusters(context, sink, report)
             ? report
             : mine_all_pairs(context, targets, sink);
}

MethodReport mine_all_pairs(MethodContext& context, const TargetRange& targets,
                            HardPairSink& sink) {
  if (context.is_prepared()) context.prepare_for_exact();
  MethodReport report = mine_exact(context, targets, sink);
  report_all_pairs(context.corpus.targets(), report);
  return report;
}

double widenings(const RecallEstimate& recall, double target) {
  const double missing = 1.0 - recall.estimate;
  const double allowed = 1.0 - target - (recall.estimate - recall.low);
  return allowed <= 0.0 ? kMostWidenings
                        : std::clamp(std::ceil(std::log2(missing / allowed)), 1.0, kMostWidenings);
}

void report_all_pairs(std::int64_t rows, MethodReport& report) {
  report.has_recall = true;
  report.recall = {rows, 1.0, 1.0, 1.0};
  report.partition.clusters = report.partition.near = 1;
}

bool partition_has_clusters(MethodContext& context) {
  const Corpus& corpus = context.corpus;
  return filters_pay(corpus, corpus.targets()) &&
         partition_pays(corpus.candidate_rows(), context.kept(), context.options.recall) &&
         context.options.recall <= most_recall_shown(corpus.targets()) &&
         !context.prepared().order().near.empty();
}

}  // namespace helip::mining
