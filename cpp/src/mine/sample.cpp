// FastHPM of the paper: candidates are a random part of the data set, drawn anew for each group of
// targets.
#include <algorithm>

#include "draw.h"
#include "engine.h"

namespace helip::mining {
namespace {

std::int64_t place_among(const std::vector<std::uint32_t>& sorted, std::int64_t id) {
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), id);
  return found != sorted.end() && *found == id ? found - sorted.begin() : -1;
}

}  // namespace

Report mine_sample(const Context& context, HardPairSink& sink) {
  const Corpus& corpus = context.corpus;
  const MineOptions& options = context.options;
  const std::int64_t rows = corpus.size();

  RecallSample sample(context);
  RecallSink measured(sample, sink);

  context.team.begin_stage("mine", rows, rows * options.candidates);
  Report report;
  for (std::int64_t group = 0; group * options.refresh < rows; ++group) {
    const std::vector<std::uint32_t> candidates =
        draw_rows(rows, options.candidates, options.seed, static_cast<std::uint64_t>(group));
    const std::int64_t group_begin = group * options.refresh;
    const std::int64_t group_end = std::min(rows, group_begin + options.refresh);
    const BandSize size = band_size(context.filter, group_end - group_begin, options.candidates,
                                    options.k, context.memory, context.team.size());
    for (std::int64_t first = group_begin; first < group_end; first += size.targets) {
      ScanJob job;
      job.targets = {nullptr, first, std::min(group_end, first + size.targets) - first};
      job.columns = {candidates.data(), 0, options.candidates};
      job.block_rows = size.block_rows;
      job.self.resize(static_cast<std::size_t>(job.targets.size));
      for (std::int64_t i = 0; i < job.targets.size; ++i) {
        job.self[static_cast<std::size_t>(i)] = place_among(candidates, first + i);
      }
      Pools pools(corpus, job.targets, options.k, options.candidates, score_error(context.filter));
      report.drops.add(scan(corpus, context.filter, job, pools, context.team), 1);
      write_pools(context, pools, first, measured);
    }
  }
  context.team.end_stage();
  report.has_recall = true;
  report.recall = sample.estimate(measured.found());
  return report;
}

}  // namespace helip::mining
