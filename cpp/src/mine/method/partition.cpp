// Approximate mining by clusters: the rows of a cluster meet those of the clusters closest to it,
// then the neighbours of their neighbours, until enough is found. docs/method.md says why the
// measured recall may be believed.
#include "mine/method/partition.h"

#include <algorithm>
#include <cmath>

#include "mine/method/engine.h"

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

// What a thread remembers while rows meet the neighbours of their neighbours.
struct Marks {
  std::vector<std::uint32_t> listed_by;  // [places]: the last target that listed a place
  std::vector<bool> met;                 // [clusters]: by the cluster of the target
  std::uint32_t cluster = kNone;         // that `met` is of
};

// One process after another may do its rounds, and slices of them: what an earlier one has done is
// gone through again without meeting a pair.
class PartitionMiner {
 public:
  PartitionMiner(const Context& context, const RecallSample& sample)
      : context_(context),
        sample_(sample),
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
    if (const SavedState* saved = context.saved()) restore(*saved);
  }

  const Met& met() const { return met_; }
  std::int64_t near() const { return near_; }
  std::int64_t passes() const { return passes_; }
  Pools& pools() { return pools_; }
  const std::vector<std::int64_t>& slots() const { return slots_; }

  // Each of the rounds returns the recall after it.

  // The first round. Floors come from clusters that meet, so that a pool is filled by what reaches
  // its floor.
  RecallEstimate begin() {
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
    if (!done_before() && next_ == 0) {
      filters_.sweep().seed_by_clusters(context_.kept(), pools_, context_.team);
    }
    return meet(meetings);
  }

  // Twice as many clusters meet.
  RecallEstimate widen() {
    near_ = std::min(2 * near_, clusters_);
    ClusterMeetings meetings(order_.near.size());
    const auto closest = near_clusters(order_, near_, context_.options.signed_products,
                                       context_.corpus.kernel(), context_.team);
    for (std::uint32_t c = 0; c < closest.size(); ++c) add(c, closest[c], meetings);
    return meet(meetings);
  }

  // Every row meets the neighbours of its neighbours whose clusters it has not met.
  RecallEstimate refine() {
    ++passes_;
    pools_.expect_repeats();
    if (done_before()) return end_round();
    if (next_ == 0) take_neighbours();
    std::vector<Marks> marks(static_cast<std::size_t>(context_.team.size()));
    const Sweep::Candidates candidates = [&](std::int64_t target, int thread,
                                             std::vector<std::uint32_t>& places) {
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
    };
    context_.team.begin_stage("refine", places_, places_, next_);
    in_slices(
        context_.checkpoint, context_.team, next_, places_,
        [&](std::int64_t place) { save(place, true); },
        [&](std::int64_t first, std::int64_t last) {
          filters_.sweep().meet_candidates(candidates, first, last, pools_, context_.team);
        });
    context_.team.end_stage();
    return end_round();
  }

  // Between rounds, where that is due.
  void save_if_due() const {
    if (context_.checkpoint != nullptr && context_.checkpoint->due()) save(0, false);
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

  RecallEstimate meet(const ClusterMeetings& meetings) {
    if (done_before()) return end_round();
    context_.team.begin_stage("mine", context_.corpus.size(), pairs_of(meetings, clusters_),
                              pairs_of(meetings, next_));
    in_slices(
        context_.checkpoint, context_.team, next_, clusters_,
        [&](std::int64_t cluster) { save(cluster, false); },
        [&](std::int64_t first, std::int64_t last) {
          filters_.sweep().meet_clusters(meetings, first, last, pools_, context_.team);
        });
    context_.team.end_stage();
    return end_round();
  }
  // Of clusters [0, last) and those that they meet.
  std::int64_t pairs_of(const ClusterMeetings& meetings, std::int64_t last) const {
    std::int64_t pairs = 0;
    for (std::uint32_t c = 0; c < last; ++c) {
      for (const std::uint32_t other : meetings[c]) pairs += met_.pairs_of(c, other);
    }
    return pairs;
  }

  // Whether an earlier process has ended the round that comes now.
  bool done_before() const { return round_ < recalls_.size(); }
  RecallEstimate end_round() {
    if (!done_before()) {
      recalls_.push_back(measure());
      next_ = 0;
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
  void save(std::int64_t next, bool refining) const {
    CheckpointState state;
    state.progress = {{"next", next}, {"recalls", nlohmann::json::array()}};
    for (const RecallEstimate& recall : recalls_) {
      state.progress["recalls"].push_back(nlohmann::json(recall_json(recall)));
    }
    mining::save(order_, state);
    sample_.save(state);
    pools_.save(places_, state);
    if (refining) state.show("neighbours", neighbours_of(0), places_ * neighbours_);
    context_.checkpoint->save(state);
  }
  void restore(const SavedState& saved) {
    for (const auto& recall : saved.at<std::vector<nlohmann::json>>("recalls")) {
      recalls_.push_back(recall_of_json(recall));
    }
    next_ = saved.at<std::int64_t>("next");
    saved.require(next_ >= 0 && next_ < places_, "it goes on beyond the last row");
    saved.require(pools_.restore(saved) == places_, "it has fewer pools than there are rows");
    if (!saved.has("neighbours")) return;
    make_graph();
    saved.read("neighbours", neighbours_of(0), places_ * neighbours_);
    for (std::int64_t i = 0; i < places_ * neighbours_; ++i) {
      const std::uint32_t neighbour = neighbours_of(0)[i];
      saved.require(neighbour == kNone || neighbour < places_, "a neighbour is none of the rows");
    }
  }

  // As they are now, since pools change while rows meet.
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
  }
  void make_graph() {
    if (graph_.data() != nullptr) return;
    const std::int64_t bytes = places_ * neighbours_ * 4;
    const std::filesystem::path folder = pool_folder();
    graph_ = folder.empty() ? ScratchMemory(bytes) : ScratchMemory(bytes, folder);
  }
  std::uint32_t* neighbours_of(std::uint32_t place) const {
    return reinterpret_cast<std::uint32_t*>(graph_.data()) + place * neighbours_;
  }

  const Context& context_;
  const RecallSample& sample_;
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
  std::vector<RecallEstimate> recalls_;  // after each round
  std::size_t round_ = 0;                // that comes now
  std::int64_t next_ = 0;                // cluster or target of the first that is not done
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
  PartitionMiner miner(context, sample);
  RecallEstimate recall = miner.begin();
  while (recall.low < target) {
    for (int pass = 0; pass < kPasses && recall.low < target; ++pass) {
      const double missing = 1.0 - recall.estimate;
      recall = miner.refine();
      if (missing - (1.0 - recall.estimate) < kWorthwhile * missing) break;
    }
    if (recall.low >= target) break;
    if (miner.met().share() * std::exp2(widenings(recall, target)) > kMostToMeet) return false;
    recall = miner.widen();
  }
  miner.save_if_due();

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
