// FastHPM of the paper: candidates are a random part of the data set, drawn anew for each group of
// targets.
#include <algorithm>
#include <numeric>

#include "mine/corpus/corpus.h"
#include "mine/corpus/scorer.h"
#include "mine/method/method.h"
#include "mine/method/recall_sample.h"
#include "mine/pool/bands.h"

namespace helip::mining {

MethodReport mine_sample(MethodContext& context, const TargetRange& range, HardPairSink& sink) {
  const Corpus& corpus = context.corpus;
  const MineOptions& options = context.options;
  const std::int64_t rows = corpus.size();

  RecallSample sample(context, range.first, range.last);
  RecallSink measured(sample, sink);
  MethodReport report;

  const bool filtered = filters_pay(corpus, rows);
  if (filtered) context.prepared();  // a stage of its own
  context.team.begin_stage("mine", range.rows, range.rows * options.candidates,
                           range.done * options.candidates);
  for (std::int64_t group = range.first / options.refresh; group * options.refresh < range.last;
       ++group) {
    const std::vector<std::uint32_t> candidates =
        draw_rows(rows, options.candidates, options.seed, static_cast<std::uint64_t>(group));
    const std::int64_t group_begin = std::max(range.first, group * options.refresh);
    const std::int64_t group_end = std::min(range.last, (group + 1) * options.refresh);
    const BandSize size = band_size(group_end - group_begin, options, options.candidates,
                                    filtered ? context.prepared().memory_left() : context.memory);
    for (std::int64_t first = group_begin; first < group_end; first += size.targets) {
      const std::int64_t last = std::min(group_end, first + size.targets);
      std::vector<std::uint32_t> targets(static_cast<std::size_t>(last - first));
      std::iota(targets.begin(), targets.end(), static_cast<std::uint32_t>(first));
      std::vector<std::int64_t> slots(targets.size(), -1);
      if (!filtered) {
        std::iota(slots.begin(), slots.end(), 0);
        Pools pools(corpus, targets, options.k, options.skip, context.groups);
        context.team.for_blocks(last - first, 8, [&](std::int64_t begin, std::int64_t end, int) {
          Scorer scorer(corpus);
          for (std::int64_t slot = begin; slot < end && !context.team.stopped(); ++slot) {
            for (const std::uint32_t row : candidates) {
              if (row != first + slot) pools.score_pair(slot, row, -1, scorer);
            }
          }
          context.team.add_work((end - begin) * options.candidates);
        });
        write_pools(pools, slots, first, options.k, measured, report.drops, context.team);
        continue;
      }
      PreparedCorpus& prepared = context.prepared();
      SweepJob job;
      job.targets = prepared.places_of(targets);
      job.others = prepared.places_of(candidates);
      std::vector<std::uint32_t> placed;
      for (const std::uint32_t place : job.targets) {
        const std::uint32_t row = prepared.order().rows[place];
        slots[static_cast<std::size_t>(row - first)] = static_cast<std::int64_t>(placed.size());
        placed.push_back(row);
      }
      Pools pools(corpus, std::move(placed), options.k, options.skip, context.groups);
      prepared.sweep().run(job, pools, context.team);
      write_pools(pools, slots, first, options.k, measured, report.drops, context.team);
    }
  }
  if (range.ends_the_job()) context.team.end_stage();
  report.has_recall = true;
  report.hits = sample.hits(measured.found());
  report.recall = estimate_recall(report.hits);
  return report;
}

}  // namespace helip::mining
