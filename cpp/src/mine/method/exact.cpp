#include <algorithm>
#include <numeric>

#include "mine/method/method.h"
#include "mine/pool/bands.h"

namespace helip::mining {
namespace {

class BandCollector final : public HardPairSink {
 public:
  explicit BandCollector(HardPairBand& into) : result_(into) {}
  void write(const HardPairBand& band) override {
    std::copy(band.ids.begin(), band.ids.end(), result_.ids.begin() + band.first * band.k);
    std::copy(band.scores.begin(), band.scores.end(), result_.scores.begin() + band.first * band.k);
    std::copy(band.counts.begin(), band.counts.end(), result_.counts.begin() + band.first);
  }

 private:
  HardPairBand& result_;
};

}  // namespace

MethodReport mine_exact(MethodContext& context, const TargetRange& range, HardPairSink& sink) {
  const MineOptions& options = context.options;
  const std::int64_t rows = context.corpus.size();
  MethodReport report;
  report.drops.listed = context.list_drops;

  // The same choice for every range, since the report tells it.
  const PairSearch search = context.search(rows);
  const std::vector<std::uint32_t>& order = search.rows();
  const BandSize size = band_size(range.last - range.first, options, rows, search.memory_left());
  const auto places = static_cast<std::int64_t>(order.size());
  // Pairs of two targets of a band are looked at once, others once for each of their bands.
  const std::int64_t each = size.targets == rows ? (places + 1) / 2 : places;
  context.team.begin_stage("mine", range.rows, range.rows * each, range.done * each);
  for (std::int64_t first = range.first; first < range.last; first += size.targets) {
    const std::int64_t last = std::min(range.last, first + size.targets);
    SweepJob job;
    job.mutual = true;
    std::vector<std::uint32_t> targets;
    std::vector<std::int64_t> slots(static_cast<std::size_t>(last - first), -1);
    for (std::size_t place = 0; place < order.size(); ++place) {
      const std::int64_t row = order[place];
      if (row < first || row >= last) {
        job.others.push_back(static_cast<std::uint32_t>(place));
        continue;
      }
      slots[static_cast<std::size_t>(row - first)] = static_cast<std::int64_t>(targets.size());
      job.targets.push_back(static_cast<std::uint32_t>(place));
      targets.push_back(order[place]);
    }
    Pools pools(context.corpus, std::move(targets), options.k, options.skip, context.groups);
    search.seed(job, context.kept(), pools);
    search.run(job, pools);
    if (last == range.last && range.ends_the_job()) context.drop_codes();
    write_pools(pools, slots, first, options.k, sink, report.drops, context.team);
  }
  if (range.ends_the_job()) context.team.end_stage();
  return report;
}

HardPairBand exact_pools(MethodContext& context, const std::vector<std::int64_t>& targets) {
  const auto total = static_cast<std::int64_t>(targets.size());
  HardPairBand result = make_band(0, total, context.options.k);
  BandCollector collect(result);
  DropCounts unused;
  const PairSearch search = context.search(total);
  SweepJob job;
  job.others.resize(search.rows().size());
  std::iota(job.others.begin(), job.others.end(), 0U);
  const BandSize size =
      band_size(total, context.options, context.corpus.size(), search.memory_left());
  for (std::int64_t first = 0; first < total; first += size.targets) {
    const std::int64_t last = std::min(total, first + size.targets);
    const std::vector<std::uint32_t> rows(targets.begin() + first, targets.begin() + last);
    job.targets = search.places_of(rows);
    std::vector<std::uint32_t> found;
    for (const std::uint32_t place : job.targets) found.push_back(search.rows()[place]);
    Pools pools(context.corpus, found, context.options.k, context.options.skip, context.groups);
    search.seed(job, context.kept(), pools);
    search.run(job, pools);

    // A target may be asked for twice.
    std::vector<std::int64_t> slot_of(static_cast<std::size_t>(context.corpus.size()), -1);
    for (std::size_t slot = 0; slot < found.size(); ++slot) {
      slot_of[found[slot]] = static_cast<std::int64_t>(slot);
    }
    std::vector<std::int64_t> slots;
    for (const std::uint32_t row : rows) slots.push_back(slot_of[row]);
    write_pools(pools, slots, first, context.options.k, collect, unused, context.team);
  }
  return result;
}

}  // namespace helip::mining
