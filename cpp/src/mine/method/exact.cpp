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
  context.team.for_blocks(last - first, 8, [&](std::int64_t begin, std::int64_t end, int) {
    Scorer scorer(context.corpus);
    for (std::int64_t slot = begin; slot < end && !context.team.stopped(); ++slot) {
      const std::int64_t target = first + slot;
      for (std::int64_t row = 0; row < rows; ++row) {
        // Pairs within the band are scored once.
        const bool mirrored = row >= first && row < last;
        if (row == target || (mirrored && row < target)) continue;
        pools.score_pair(slot, row, mirrored ? row - first : -1, scorer);
      }
    }
    context.team.add_work((end - begin) * rows);
  });
}

}  // namespace

MethodReport mine_exact(MethodContext& context, const TargetRange& range, HardPairSink& sink) {
  const Corpus& corpus = context.corpus;
  const MineOptions& options = context.options;
  const std::int64_t rows = corpus.size();
  const std::int64_t wanted = range.last - range.first;
  MethodReport report;
  report.drops.listed = context.list_drops;

  // The same choice for every range, since the report tells it.
  if (!filters_pay(corpus, rows)) {
    const BandSize size = band_size(wanted, options, rows, context.memory);
    context.team.begin_stage("mine", range.rows, range.rows * rows, range.done * rows);
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
    Pools pools(corpus, std::move(targets), options.k, options.skip, context.groups);
    prepared.sweep().seed(job, context.kept(), pools, context.team);
    prepared.sweep().run(job, pools, context.team);
    if (last == range.last && range.ends_the_job()) context.drop_codes();
    write_pools(pools, slots, first, options.k, sink, report.drops, context.team);
  }
  if (range.ends_the_job()) context.team.end_stage();
  return report;
}

}  // namespace helip::mining
