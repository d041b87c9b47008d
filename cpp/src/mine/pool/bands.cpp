#include "mine/pool/bands.h"

#include <algorithm>
#include <mutex>

#include "mine/bound/sweep.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kLeastBandRows = kSweepBlock;
constexpr std::int64_t kMostBandRows = 0x7fffffff;  // targets are numbered in 32 bits
constexpr std::int64_t kBandBytes = std::int64_t{8} << 20;
constexpr std::int64_t kFinishGrain = 16;

}  // namespace

std::int64_t bytes_of_target(std::int64_t kept) noexcept {
  return Pools::bytes_per_target(kept, 0) + 16;
}

BandSize band_size(std::int64_t targets, const MineOptions& options, std::int64_t rows,
                   std::int64_t memory) noexcept {
  const std::int64_t each = bytes_of_target(std::min(options.k + options.skip, rows));
  const std::int64_t fit = std::clamp(memory / each, kLeastBandRows, kMostBandRows);
  const std::int64_t bands = std::max<std::int64_t>(1, (targets + fit - 1) / fit);
  return {(targets + bands - 1) / bands, bands};
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

void write_pools(Pools& pools, const std::vector<std::int64_t>& slots, std::int64_t first,
                 std::int64_t k, HardPairSink& sink, DropCounts& drops, Team& team) {
  const std::int64_t step = band_rows_for(k);
  const auto all = static_cast<std::int64_t>(slots.size());
  std::mutex mutex;
  for (std::int64_t begin = 0; begin < all; begin += step) {
    const std::int64_t rows = std::min(step, all - begin);
    HardPairBand band = make_band(first + begin, rows, k);
    team.for_blocks(rows, kFinishGrain, [&](std::int64_t row, std::int64_t end, int) {
      DropCounts counts = drops.part();
      for (; row < end && !team.stopped(); ++row) {
        const std::int64_t slot = slots[static_cast<std::size_t>(begin + row)];
        if (slot >= 0) pools.finish(slot, band, row, counts);
      }
      const std::lock_guard lock(mutex);
      drops.add(counts);
    });
    sink.write(band);
  }
}

}  // namespace helip::mining
