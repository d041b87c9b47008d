#include "mine/method/exact_pools.h"

#include <algorithm>

#include "mine/corpus/scorer.h"
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
      for (std::int64_t row = 0; row < corpus.size() && !context.team.stopped(); ++row) {
        if (row != targets[static_cast<std::size_t>(slot)]) pools.score_pair(slot, row, -1, scorer);
      }
      context.team.add_work(corpus.size());
    });
    std::vector<std::int64_t> slots(targets.size());
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = static_cast<std::int64_t>(i);
    write_pools(pools, slots, 0, context.options.k, collect, unused, context.team);
    return result;
  }

  PreparedCorpus& prepared = context.prepared();
  SweepJob job;
  for (std::size_t place = 0; place < prepared.order().rows.size(); ++place) {
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
