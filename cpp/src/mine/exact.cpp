#include <algorithm>
#include <numeric>

#include "engine.h"

namespace helip::mining {
namespace {

// Bands of targets against every row, symmetric within the band.
ScanJob band_job(std::int64_t first, std::int64_t last, std::int64_t rows, const BandSize& size) {
  ScanJob job;
  job.targets = {nullptr, first, last - first};
  job.columns = {nullptr, 0, rows};
  job.mirror = first;
  job.block_rows = size.block_rows;
  return job;
}

}  // namespace

Report mine_exact(const Context& context, HardPairSink& sink) {
  const Corpus& corpus = context.corpus;
  const std::int64_t rows = corpus.size();
  const BandSize size =
      band_size(context.filter, rows, rows, context.options.k, context.memory, context.team.size());
  std::int64_t work = 0;
  for (std::int64_t first = 0; first < rows; first += size.targets) {
    work += band_job(first, std::min(rows, first + size.targets), rows, size).work();
  }
  context.team.begin_stage("mine", rows, work);

  Report report;
  for (std::int64_t first = 0; first < rows; first += size.targets) {
    ScanJob job = band_job(first, std::min(rows, first + size.targets), rows, size);
    job.self.resize(static_cast<std::size_t>(job.targets.size));
    std::iota(job.self.begin(), job.self.end(), first);
    Pools pools(corpus, job.targets, context.options.k, rows, score_error(context.filter));
    report.drops.add(scan(corpus, context.filter, job, pools, context.team), 1);
    write_pools(context, pools, first, sink);
  }
  context.team.end_stage();
  return report;
}

}  // namespace helip::mining
