// Approximate mining by clusters: the rows of a cluster meet those of the clusters closest to it,
// then the neighbours of their neighbours, until enough is found. docs/method.md says why the
// measured recall may be believed.
#include "partition.h"

#include <algorithm>
#include <cmath>

#include "engine.h"

namespace helip::mining {
namespace {

constexpr int kPasses = 2;              // most, before more clusters meet
constexpr double kWorthwhile = 0.2;     // share of what is missing that a pass must find
constexpr double kMostWidenings = 3.0;  // looked ahead
constexpr std::uint32_t kNone = ~0U;

// Which pairs of clusters have met.
class Met {
 public:
  explicit Met(const RowOrder& order) : order_(order), partners_(order.near.size()) {}
  // Clusters that one has met, ascending.
  const std::vector<std::uint32_t>& partners(std::uint32_t cluster) const {
    return partners_[cluster];
  }
  // False if they had.
  bool add(std::uint32_t a, std::uint32_t b) {
    if (!insert(partners_[a], b)) return false;
    if (a != b) insert(partners_[b], a);
    pairs_ += a == b ? size(a) * (size(a) - 1) / 2 : size(a) * size(b);
    return true;
  }
  std::int64_t pairs() const { return pairs_; }
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

// What a thread remembers while rows meet the neighbours of their neighbours.
struct Marks {
  std::vector<std::uint32_t> listed_by;  // [places]: the last target that listed a place
  std::vector<bool> met;                 // [clusters]: by the cluster of the target
  std::uint32_t cluster = kNone;         // that `met` is of
};

class PartitionMiner {
 public:
  explicit PartitionMiner(const Context& context)
      : context_(context),
        filters_(context.filters()),
        order_(filters_.order()),
        places_(static_cast<std::int64_t>(order_.rows.size())),
        clusters_(static_cast<std::int64_t>(order_.near.size())),
        neighbours_(std::min(kNeighbours, context.kept())),
        met_(order_),
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
  }

  const Met& met() const { return met_; }
  std::int64_t near() const { return near_; }
  std::int64_t passes() const { return passes_; }
  Pools& pools() { return pools_; }
  const std::vector<std::int64_t>& slots() const { return slots_; }

  // The first round. Floors come from clusters that meet, so that a pool is filled by what reaches
  // its floor.
  void begin() {
    near_ = std::min(kPartitionNear, clusters_);
    ClusterMeetings meetings(order_.near.size());
    for (std::uint32_t c = 0; c < order_.near.size(); ++c) {
      const auto& closest = order_.near[c];
      const auto wanted = static_cast<std::size_t>(
          std::max(near_, filters_.sweep().seeding_clusters(c, context_.kept())));
      add(c,
          {closest.begin(),
           closest.begin() + static_cast<std::ptrdiff_t>(std::min(wanted, closest.size()))},
          meetings);
    }
    filters_.sweep().seed_by_clusters(context_.kept(), pools_, context_.team);
    meet(meetings, met_.pairs());
  }

  // Twice as many clusters meet.
  void widen() {
    near_ = std::min(2 * near_, clusters_);
    const std::int64_t before = met_.pairs();
    ClusterMeetings meetings(order_.near.size());
    const auto closest = near_clusters(order_, near_, context_.options.signed_products,
                                       context_.corpus.kernel(), context_.team);
    for (std::uint32_t c = 0; c < closest.size(); ++c) add(c, closest[c], meetings);
    meet(meetings, met_.pairs() - before);
  }

  // Every row meets the neighbours of its neighbours whose clusters it has not met.
  void refine() {
    ++passes_;
    pools_.expect_repeats();
    take_neighbours();
    std::vector<Marks> marks(static_cast<std::size_t>(context_.team.size()));
    context_.team.begin_stage("refine", places_, places_);
    filters_.sweep().meet_candidates(
        [&](std::int64_t target, int thread, std::vector<std::uint32_t>& places) {
          const auto own = static_cast<std::uint32_t>(target);
          Marks& mark = marks[static_cast<std::size_t>(thread)];
          move_to(cluster_of_[own], mark);
          for (std::int64_t i = 0; i < neighbours_; ++i) {
            const std::uint32_t neighbour = neighbours_of(own)[i];
            if (neighbour == kNone) break;
            for (std::int64_t j = 0; j < neighbours_; ++j) {
              const std::uint32_t place = neighbours_of(neighbour)[j];
              if (place == kNone) break;
              if (mark.listed_by[place] == own) continue;
              mark.listed_by[place] = own;
              if (!mark.met[cluster_of_[place]]) places.push_back(place);
            }
          }
        },
        pools_, context_.team);
    context_.team.end_stage();
  }

  RecallEstimate measure(const RecallSample& sample) {
    const auto count = static_cast<std::int64_t>(sample.targets().size());
    HardPairBand found = make_band(0, count, context_.options.k);
    DropCounts unused;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t row = sample.targets()[static_cast<std::size_t>(i)];
      const std::int64_t slot = slots_[static_cast<std::size_t>(row)];
      if (slot >= 0) pools_.finish(slot, found, i, unused);
    }
    return sample.estimate(found);
  }

 private:
  // Pools and neighbours of all rows are kept at a time: on disk where memory is too small.
  std::filesystem::path pool_folder() const {
    const std::int64_t bytes =
        places_ *
        (Pools::bytes_per_target(context_.options.k, context_.options.skip) + 4 * neighbours_);
    return bytes > filters_.memory_left() ? context_.scratch : std::filesystem::path();
  }

  void move_to(std::uint32_t cluster, Marks& marks) const {
    if (marks.cluster == cluster) return;
    if (marks.cluster == kNone) {
      marks.listed_by.assign(order_.rows.size(), kNone);
      marks.met.resize(order_.near.size());
    } else {
      for (const std::uint32_t partner : met_.partners(marks.cluster)) marks.met[partner] = false;
    }
    for (const std::uint32_t partner : met_.partners(cluster)) marks.met[partner] = true;
    marks.cluster = cluster;
  }

  void add(std::uint32_t cluster, const std::vector<std::uint32_t>& others,
           ClusterMeetings& meetings) {
    for (const std::uint32_t other : others) {
      if (met_.add(cluster, other)) meetings[cluster].push_back(other);
    }
  }

  void meet(const ClusterMeetings& meetings, std::int64_t pairs) {
    context_.team.begin_stage("mine", context_.corpus.size(), pairs);
    filters_.sweep().meet_clusters(meetings, pools_, context_.team);
    context_.team.end_stage();
  }

  // As they are now, since pools change while rows meet.
  void take_neighbours() {
    if (graph_.data() == nullptr) {
      const std::int64_t bytes = places_ * neighbours_ * 4;
      const std::filesystem::path folder = pool_folder();
      graph_ = folder.empty() ? ScratchMemory(bytes) : ScratchMemory(bytes, folder);
    }
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
  }
  std::uint32_t* neighbours_of(std::uint32_t place) const {
    return reinterpret_cast<std::uint32_t*>(graph_.data()) + place * neighbours_;
  }

  const Context& context_;
  const Filters& filters_;
  const RowOrder& order_;
  const std::int64_t places_;
  const std::int64_t clusters_;
  const std::int64_t neighbours_;
  Met met_;
  Pools pools_;
  std::vector<std::int64_t> slots_;        // row -> place, -1 for a zero row
  std::vector<std::uint32_t> cluster_of_;  // [places]
  ScratchMemory graph_;                    // uint32 [places, neighbours_], best first
  std::int64_t near_ = 0;
  std::int64_t passes_ = 0;
};

Report all_pairs(const Context& context, HardPairSink& sink) {
  const std::int64_t rows = context.corpus.size();
  if (context.has_filters()) context.choose_filters_again(Method::exact);
  Report report = mine_exact(context, {0, rows, 0, rows}, sink);
  report.has_recall = true;
  report.recall = {rows, 1.0, 1.0, 1.0};
  report.partition.clusters = report.partition.near = 1;
  return report;
}

// How often the number of clusters that meet must double: each time about halves what is missing.
double widenings(const RecallEstimate& recall, double target) {
  const double missing = 1.0 - recall.estimate;
  const double allowed = 1.0 - target - (recall.estimate - recall.low);
  return allowed <= 0.0 ? kMostWidenings
                        : std::clamp(std::ceil(std::log2(missing / allowed)), 1.0, kMostWidenings);
}

// Writes nothing and says false where all pairs had better meet.
bool mine_clusters(const Context& context, HardPairSink& sink, Report& report) {
  const double target = context.options.recall;
  const RecallSample sample(context);
  PartitionMiner miner(context);
  miner.begin();
  RecallEstimate recall = miner.measure(sample);
  while (recall.low < target) {
    for (int pass = 0; pass < kPasses && recall.low < target; ++pass) {
      const double missing = 1.0 - recall.estimate;
      miner.refine();
      recall = miner.measure(sample);
      if (missing - (1.0 - recall.estimate) < kWorthwhile * missing) break;
    }
    if (recall.low >= target) break;
    if (miner.met().share() * std::exp2(widenings(recall, target)) > kMostToMeet) return false;
    miner.widen();
    recall = miner.measure(sample);
  }

  report.has_recall = true;
  report.recall = recall;
  report.partition.clusters = static_cast<std::int64_t>(context.filters().order().near.size());
  report.partition.near = miner.near();
  report.partition.passes = miner.passes();
  report.partition.met = miner.met().share();
  const std::int64_t rows = context.corpus.size();
  context.drop_codes();
  context.team.begin_stage("write", rows, 1);
  write_pools(context, miner.pools(), miner.slots(), 0, sink, report.drops);
  context.team.end_stage();
  return true;
}

}  // namespace

Report mine_partition(const Context& context, HardPairSink& sink) {
  Report report;
  const std::int64_t rows = context.corpus.size();
  const bool clusters = filters_pay(context.corpus, rows) &&
                        partition_pays(rows, context.kept(), context.options.recall) &&
                        !context.filters().order().near.empty();
  return clusters && mine_clusters(context, sink, report) ? report : all_pairs(context, sink);
}

}  // namespace helip::mining
