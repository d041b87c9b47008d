// Bands: how many pools fit, and how they are handed over.
#include "mine/pool/bands.h"

#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "mine/bound/sweep.h"
#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

class Gathered final : public HardPairSink {
 public:
  void write(const HardPairBand& band) override { bands.push_back(band); }
  std::vector<HardPairBand> bands;
};

}  // namespace

TEST_CASE("bands cover the targets, and each fits into the memory", "[bands]") {
  MineOptions options;
  options.k = 100;
  const std::int64_t each = bytes_of_target(100);
  for (const std::int64_t targets : {1000, 4321, 1000000}) {
    for (const std::int64_t fit : {600, 1000, 5000, 2000000}) {
      const BandSize size = band_size(targets, options, targets, fit * each);
      REQUIRE(size.targets * size.bands >= targets);
      REQUIRE(size.targets * (size.bands - 1) < targets);
      REQUIRE(size.targets <= fit);
    }
  }
}

TEST_CASE("too little memory for anything gets the least band that works", "[bands]") {
  MineOptions options;
  const BandSize size = band_size(10 * kSweepBlock, options, 10 * kSweepBlock, 1);
  REQUIRE(size.targets == kSweepBlock);
  REQUIRE(size.bands == 10);
}

TEST_CASE("a new band holds no pair", "[bands]") {
  const HardPairBand band = make_band(7, 2, 3);
  REQUIRE(band.first == 7);
  REQUIRE(band.ids == std::vector<std::int64_t>(6, -1));
  REQUIRE(band.scores == std::vector<float>(6, 0.0F));
  REQUIRE(band.counts == std::vector<std::int32_t>(2, 0));
}

TEST_CASE("pools are written in the order of the rows, and rows without one are empty", "[bands]") {
  SilentTeam silent;
  const Data data = clustered_data(30, 6, 4);
  const Corpus corpus(data.image.view(), data.text.view(), Rules(), select_kernel());
  Pools pools(corpus, {4, 2}, 5, 0, nullptr);
  Scorer scorer(corpus);
  for (std::int64_t target = 0; target < 2; ++target) {
    for (std::int64_t row = 0; row < 30; ++row) {
      if (row != (target == 0 ? 4 : 2)) pools.score_pair(target, row, -1, scorer);
    }
  }
  Gathered sink;
  DropCounts drops;
  write_pools(pools, {1, -1, 0}, 2, 5, sink, drops, silent.team);
  REQUIRE(sink.bands.size() == 1);
  const HardPairBand& band = sink.bands.front();
  REQUIRE(band.first == 2);
  const MineOptions options = exact_options(5);
  check_pool(plain_pool(data, 2, options), 5, band.ids.data(), band.scores.data(), band.counts[0]);
  REQUIRE(band.counts[1] == 0);
  check_pool(plain_pool(data, 4, options), 5, band.ids.data() + 10, band.scores.data() + 10,
             band.counts[2]);
}
