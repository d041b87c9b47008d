// FastHPM of the paper: candidates are a random part of the data set, drawn anew for each group of
// targets.
#include <algorithm>
#include <numeric>

#include "mine/corpus/corpus.h"
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

  const PairSearch search = context.search(rows);  // a stage of its own
  context.team.begin_stage("mine", range.rows, range.rows * options.candidates,
                           range.done * options.candidates);
  for (std::int64_t group = range.first / options.refresh; group * options.refresh < range.last;
       ++group) {
    SweepJob job;
    job.others = search.places_of(
        draw_rows(rows, options.candidates, options.seed, static_cast<std::uint64_t>(group)));
    const std::int64_t group_begin = std::max(range.first, group * options.refresh);
    const std::int64_t group_end = std::min(range.last, (group + 1) * options.refresh);
    const BandSize size =
        band_size(group_end - group_begin, options, options.candidates, search.memory_left());
    for (std::int64_t first = group_begin; first < group_end; first += size.targets) {
      const std::int64_t last = std::min(group_end, first + size.targets);
      std::vector<std::uint32_t> targets(static_cast<std::size_t>(last - first));
      std::iota(targets.begin(), targets.end(), static_cast<std::uint32_t>(first));
      std::vector<std::int64_t> slots(targets.size(), -1);
      job.targets = search.places_of(targets);
      std::vector<std::uint32_t> placed;
      for (const std::uint32_t place : job.targets) {
        const std::uint32_t row = search.rows()[place];
        slots[static_cast<std::size_t>(row - first)] = static_cast<std::int64_t>(placed.size());
        placed.push_back(row);
      }
      Pools pools(corpus, std::move(placed), options.k, options.skip, context.groups);
      search.run(job, pools);
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
