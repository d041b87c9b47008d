#include "engine.h"

#include <algorithm>

namespace helip::mining {
namespace {

constexpr std::int64_t kLeastBlockRows = 96;
constexpr std::int64_t kBandBytes = std::int64_t{8} << 20;
constexpr std::int64_t kFinishGrain = 16;

}  // namespace

BandSize band_size(const Filter& filter, std::int64_t targets, std::int64_t candidates,
                   std::int64_t k, std::int64_t memory, int threads) noexcept {
  std::int64_t block_rows = kDefaultBlockRows;
  while (block_rows > kLeastBlockRows && scan_bytes(filter, block_rows, threads) > memory / 2) {
    block_rows /= 2;
  }
  const std::int64_t packed = scan_bytes(filter, block_rows, threads);
  const std::int64_t each =
      Pools::bytes_per_target(k, candidates) + static_cast<std::int64_t>(sizeof(std::int64_t));
  const std::int64_t fit = std::max(kLeastBlockRows, (memory - packed) / each);
  const std::int64_t bands = std::max<std::int64_t>(1, (targets + fit - 1) / fit);
  const std::int64_t size = (targets + bands - 1) / bands;
  return {size, block_rows, bands, packed + size * each};
}

HardPairBand make_band(std::int64_t first, std::int64_t rows, std::int64_t k) {
  HardPairBand band;
  band.first = first;
  band.k = k;
  band.ids.assign(static_cast<std::size_t>(rows * k), -1);
  band.scores.assign(static_cast<std::size_t>(rows * k), 0.0F);
  band.counts.assign(static_cast<std::size_t>(rows), 0);
  return band;
}

std::int64_t band_rows_for(std::int64_t k) noexcept {
  return std::clamp<std::int64_t>(kBandBytes / (12 * k + 4), 1, 8192);
}

void write_pools(const Context& context, Pools& pools, std::int64_t first, HardPairSink& sink) {
  const std::int64_t k = context.options.k;
  const std::int64_t step = band_rows_for(k);
  std::vector<Scorer> scorers(static_cast<std::size_t>(context.team.size()),
                              Scorer(context.corpus));
  for (std::int64_t begin = 0; begin < pools.size(); begin += step) {
    const std::int64_t rows = std::min(step, pools.size() - begin);
    HardPairBand band = make_band(first + begin, rows, k);
    context.team.for_blocks(
        rows, kFinishGrain, [&](std::int64_t row, std::int64_t end, int worker) {
          for (; row < end && !context.team.stopped(); ++row) {
            pools.finish(begin + row, scorers[static_cast<std::size_t>(worker)], band, row);
          }
        });
    sink.write(band);
  }
}

HardPairBand exact_pools(const Context& context, const std::vector<std::int64_t>& targets) {
  const Corpus& corpus = context.corpus;
  const auto total = static_cast<std::int64_t>(targets.size());
  const std::int64_t k = context.options.k;
  const BandSize size =
      band_size(context.filter, total, corpus.size(), k, context.memory, context.team.size());

  HardPairBand result = make_band(0, total, k);
  struct Copy final : HardPairSink {
    explicit Copy(HardPairBand& into) : result(into) {}
    void write(const HardPairBand& band) override {
      std::copy(band.ids.begin(), band.ids.end(), result.ids.begin() + band.first * band.k);
      std::copy(band.scores.begin(), band.scores.end(),
                result.scores.begin() + band.first * band.k);
      std::copy(band.counts.begin(), band.counts.end(), result.counts.begin() + band.first);
    }
    HardPairBand& result;
  } copy(result);

  for (std::int64_t first = 0; first < total; first += size.targets) {
    const std::int64_t last = std::min(total, first + size.targets);
    const std::vector<std::uint32_t> ids(targets.begin() + first, targets.begin() + last);
    ScanJob job;
    job.targets = {ids.data(), 0, last - first};
    job.columns = {nullptr, 0, corpus.size()};
    job.self.assign(targets.begin() + first, targets.begin() + last);
    job.block_rows = size.block_rows;
    Pools pools(corpus, job.targets, k, corpus.size(), score_error(context.filter));
    scan(corpus, context.filter, job, pools, context.team);
    write_pools(context, pools, first, copy);
  }
  return result;
}

}  // namespace helip::mining
