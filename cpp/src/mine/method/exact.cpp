#include <algorithm>
#include <numeric>

#include "mine/corpus/scorer.h"
#include "mine/method/method.h"
#include "mine/pool/bands.h"

namespace helip::mining {
namespace {

// Every pair is scored: what filters would cost more than they save.
void score_all(MethodContext& context, Pools& pools, std::int64_t first, std::int64_t last) {
  const std::int64_t rows = context.corpus.size();
  const std::int64_t queries = context.corpus.queries();
  context.team.for_blocks(last - first, 8, [&](std::int64_t begin, std::int64_t end, int) {
    Scorer scorer(context.corpus);
    for (std::int64_t slot = begin; slot < end && !context.team.stopped(); ++slot) {
      const std::int64_t target = first + slot;
      for (std::int64_t row = queries; row < rows; ++row) {
        // Pairs within the band are scored once.
        const bool mirrored = queries == 0 && row >= first && row < last;
        if (row == target || (mirrored && row < target)) continue;
        pools.score_pair(slot, row, mirrored ? row - first : -1, scorer);
      }
    }
    context.team.add_work((end - begin) * (rows - queries));
  });
}

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
  const Corpus& corpus = context.corpus;
  const MineOptions& options = context.options;
  const std::int64_t rows = corpus.size();
  const std::int64_t wanted = range.last - range.first;
  MethodReport report;
  report.drops.listed = context.list_drops;

  // The same choice for every range, since the report tells it.
  if (!filters_pay(corpus, corpus.targets())) {
    const std::int64_t each = corpus.candidate_rows();
    const BandSize size = band_size(wanted, options, rows, context.memory);
    context.team.begin_stage("mine", range.rows, range.rows * each, range.done * each);
    for (std::int64_t first = range.first; first < range.last; first += size.targets) {
      const std::int64_t last = std::min(range.last, first + size.targets);
      std::vector<std::uint32_t> targets(static_cast<std::size_t>(last - first));
      std::iota(targets.begin(), targets.end(), static_cast<std::uint32_t>(first));
      Pools pools(corpus, std::move(targets), options.k, options.skip, context.groups);
      score_all(context, pools, first, last);
      std::vector<std::int64_t> slots(static_cast<std::size_t>(last - first));
      std::iota(slots.begin(), slots.end(), 0);
      write_pools(pools, slots, first, options.k, sink, report.drops, context.team);
    }
    if (range.ends_the_job()) context.team.end_stage();
    return report;
  }

  PreparedCorpus& prepared = context.prepared();
  const std::vector<std::uint32_t>& order = prepared.order().rows;
  const BandSize size = band_size(wanted, options, rows, prepared.memory_left());
  const auto is_candidate = [&](std::uint32_t row) { return corpus.is_candidate(row); };
  const std::int64_t places = std::count_if(order.begin(), order.end(), is_candidate);
  // Pairs of two targets of a band are looked at once, others once for each of their bands.
  const std::int64_t each = size.targets == rows ? (places + 1) / 2 : places;
  context.team.begin_stage("mine", range.rows, range.rows * each, range.done * each);
  for (std::int64_t first = range.first; first < range.last; first += size.targets) {
    const std::int64_t last = std::min(range.last, first + size.targets);
    SweepJob job;
    job.mutual = corpus.queries() == 0;
    std::vector<std::uint32_t> targets;
    std::vector<std::int64_t> slots(static_cast<std::size_t>(last - first), -1);
    for (std::size_t place = 0; place < order.size(); ++place) {
      const std::int64_t row = order[place];
      if (row < first || row >= last) {
        if (corpus.is_candidate(row)) job.others.push_back(static_cast<std::uint32_t>(place));
        continue;
      }
      slots[static_cast<std::size_t>(row - first)] = static_cast<std::int64_t>(targets.size());
      job.targets.push_back(static_cast<std::uint32_t>(place));
      targets.push_back(order[place]);
    }
    Pools pools(corpus, std::move(targets), options.k, options.skip, context.groups);
    prepared.sweep().seed(job, context.kept(), pools, context.team);
    prepared.sweep().run(job, pools, context.team);
    if (last == range.last && range.ends_the_job()) context.drop_codes();
    write_pools(pools, slots, first, options.k, sink, report.drops, context.team);
  }
  if (range.ends_the_job()) context.team.end_stage();
  return report;
}

HardPairBand exact_pools(MethodContext& context, const std::vector<std::int64_t>& targets) {
  const Corpus& corpus = context.corpus;
  const auto total = static_cast<std::int64_t>(targets.size());
  HardPairBand result = make_band(0, total, context.options.k);
  BandCollector collect(result);
  DropCounts unused;
  if (!filters_pay(corpus, total)) {
    const std::vector<std::uint32_t> rows(targets.begin(), targets.end());
    Pools pools(corpus, rows, context.options.k, context.options.skip, context.groups);
    context.team.for_blocks(total, 1, [&](std::int64_t slot, std::int64_t, int) {
      Scorer scorer(corpus);
      for (std::int64_t row = corpus.queries(); row < corpus.size() && !context.team.stopped();
           ++row) {
        if (row != targets[static_cast<std::size_t>(slot)]) pools.score_pair(slot, row, -1, scorer);
      }
      context.team.add_work(corpus.candidate_rows());
    });
    std::vector<std::int64_t> slots(targets.size());
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::int64_t>(i);
    write_pools(pools, slots, 0, context.options.k, collect, unused, context.team);
    return result;
  }

  PreparedCorpus& prepared = context.prepared();
  SweepJob job;
  for (std::size_t place = 0; place < prepared.order().rows.size(); ++place) {
    if (!corpus.is_candidate(prepared.order().rows[place])) continue;
    job.others.push_back(static_cast<std::uint32_t>(place));
  }
  const BandSize size = band_size(total, context.options, corpus.size(), prepared.memory_left());
  for (std::int64_t first = 0; first < total; first += size.targets) {
    const std::int64_t last = std::min(total, first + size.targets);
    const std::vector<std::uint32_t> rows(targets.begin() + first, targets.begin() + last);
    job.targets = prepared.places_of(rows);
    std::vector<std::uint32_t> found;
    for (const std::uint32_t place : job.targets) found.push_back(prepared.order().rows[place]);
    Pools pools(corpus, found, context.options.k, context.options.skip, context.groups);
    prepared.sweep().seed(job, context.kept(), pools, context.team);
    prepared.sweep().run(job, pools, context.team);

    // A target may be asked for twice.
    std::vector<std::int64_t> slot_of(static_cast<std::size_t>(corpus.size()), -1);
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
