// Approximate mining of queries by clusters of the rows that they are mined in: the queries close
// to a cluster are compared with the rows of it and of the clusters closest to it, and of twice as
// many while too little is found.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>

#include "mine/budget/budget.h"
#include "mine/method/method.h"
#include "mine/method/recall_sample.h"
#include "mine/pool/bands.h"

namespace helip::mining {
namespace {

class QueryPartitionMiner {
 public:
  QueryPartitionMiner(MethodContext& context, const RecallSample& sample)
      : context_(context),
        sample_(sample),
        prepared_(context.prepared()),
        order_(prepared_.order()),
        compared_(order_.near.size()),
        slots_(static_cast<std::size_t>(context.corpus.queries()), -1),
        pools_(context.corpus, queries_by_place(), context.options.k, context.options.skip,
               context.groups, pool_folder()) {}

  std::int64_t near() const { return near_; }
  Pools& pools() { return pools_; }
  const std::vector<std::int64_t>& slots() const { return slots_; }
  // Of all pairs of a query and a row.
  double share() const {
    const auto all =
        static_cast<double>(pools_.size()) *
        static_cast<double>(order_.rows.size() - static_cast<std::size_t>(pools_.size()));
    return all > 0.0 ? static_cast<double>(pairs_) / all : 1.0;
  }

  // Thresholds come from clusters that are compared, so that a pool is filled by what reaches its
  // threshold.
  RecallEstimate begin() {
    near_ = std::min(kPartitionNear, clusters());
    ClusterPartners partners(order_.near.size());
    for (std::uint32_t c = 0; c < order_.near.size(); ++c) {
      const auto wanted = static_cast<std::size_t>(
          std::max(near_, seeding_clusters(order_, context_.corpus, c, context_.kept())));
      add(c, std::span(order_.near[c]).first(std::min(wanted, order_.near[c].size())), partners);
    }
    prepared_.sweep().seed_by_clusters(context_.kept(), pools_, context_.team);
    return compare(partners);
  }

  // Twice as many clusters are compared.
  RecallEstimate widen() {
    near_ = std::min(2 * near_, clusters());
    ClusterPartners partners(order_.near.size());
    const auto closest = near_clusters(order_, near_, context_.options.signed_products,
                                       context_.corpus.kernel(), context_.team);
    for (std::uint32_t c = 0; c < closest.size(); ++c) add(c, closest[c], partners);
    return compare(partners);
  }

 private:
  std::int64_t clusters() const { return static_cast<std::int64_t>(order_.near.size()); }

  std::vector<std::uint32_t> queries_by_place() {
    std::vector<std::uint32_t> rows;
    for (const std::uint32_t row : order_.rows) {
      if (context_.corpus.is_candidate(row)) continue;
      slots_[row] = static_cast<std::int64_t>(rows.size());
      rows.push_back(row);
    }
    return rows;
  }

  std::filesystem::path pool_folder() const {
    const std::int64_t bytes = context_.corpus.queries() *
                               Pools::bytes_per_target(context_.options.k, context_.options.skip);
    return bytes > prepared_.memory_left() ? context_.scratch : std::filesystem::path();
  }

  std::int64_t rows_of(std::uint32_t cluster) const {
    return order_.begins[cluster + 1] - candidates_begin(order_, context_.corpus, cluster);
  }

  void add(std::uint32_t cluster, std::span<const std::uint32_t> others,
           ClusterPartners& partners) {
    const std::int64_t queries =
        candidates_begin(order_, context_.corpus, cluster) - order_.begins[cluster];
    if (queries == 0) return;
    std::vector<std::uint32_t>& before = compared_[cluster];
    for (const std::uint32_t other : others) {
      const auto at = std::lower_bound(before.begin(), before.end(), other);
      if (at != before.end() && *at == other) continue;
      before.insert(at, other);
      partners[cluster].push_back(other);
      pairs_ += queries * rows_of(other);
    }
  }

  RecallEstimate compare(const ClusterPartners& partners) {
    context_.team.begin_stage("mine", pools_.size(), std::max<std::int64_t>(1, pairs_ - done_));
    prepared_.sweep().run_clusters(partners, 0, clusters(), pools_, context_.team);
    context_.team.end_stage();
    done_ = pairs_;
    const auto count = static_cast<std::int64_t>(sample_.targets().size());
    HardPairBand found = make_band(0, count, context_.options.k);
    DropCounts unused;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t query = sample_.targets()[static_cast<std::size_t>(i)];
      const std::int64_t slot = slots_[static_cast<std::size_t>(query)];
      if (slot >= 0) pools_.finish(slot, found, i, unused);
    }
    return sample_.estimate(found);
  }

  MethodContext& context_;
  const RecallSample& sample_;
  PreparedCorpus& prepared_;
  const RowOrder& order_;
  std::vector<std::vector<std::uint32_t>> compared_;  // with each cluster, ascending
  std::vector<std::int64_t> slots_;                   // query -> target of the pools, -1: zero row
  Pools pools_;
  std::int64_t near_ = 0;
  std::int64_t pairs_ = 0;  // that are compared
  std::int64_t done_ = 0;   // of those, in rounds before
};

}  // namespace

MethodReport mine_partition_of_queries(MethodContext& context, const TargetRange& targets,
                                       HardPairSink& sink) {
  if (!partition_has_clusters(context)) return mine_all_pairs(context, targets, sink);
  MethodReport report;
  report.drops.listed = context.list_drops;
  report.has_recall = true;
  {
    const double target = context.options.recall;
    const RecallSample sample(context);
    QueryPartitionMiner miner(context, sample);
    report.recall = miner.begin();
    while (report.recall.low < target &&
           miner.share() * std::exp2(widenings(report.recall, target)) <= kMostToCompare) {
      report.recall = miner.widen();
    }
    if (report.recall.low >= target) {
      report.partition.clusters = static_cast<std::int64_t>(context.prepared().order().near.size());
      report.partition.near = miner.near();
      report.partition.compared = miner.share();
      context.drop_codes();
      context.team.begin_stage("write", context.corpus.targets(), 1);
      write_pools(miner.pools(), miner.slots(), 0, context.options.k, sink, report.drops,
                  context.team);
      context.team.end_stage();
      return report;
    }
  }
  return mine_all_pairs(context, targets, sink);
}

}  // namespace helip::mining
