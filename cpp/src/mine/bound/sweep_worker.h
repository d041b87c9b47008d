// One thread's part in a sweep.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned.h"
#include "mine/bound/filter_plan.h"
#include "mine/bound/sweep.h"

namespace helip::mining {

using SweepEntries = std::span<const SweepEntry>;

class SweepWorker {
 public:
  // `places`: of each row, kNoPlace of none, for seed() and probe() where queries have positives.
  SweepWorker(const Corpus& corpus, const Codes& codes, const RowOrder& order, SweepSink& sink,
              const std::vector<std::uint32_t>* places = nullptr);

  // All rows against all columns; against itself, each pair once. At most kSweepBlock of each.
  void run(SweepEntries rows, SweepEntries columns, Codes::Filter filter);
  // One row and columns that were chosen for it: no tiles, the later filters alone.
  void run_row(const SweepEntry& row, SweepEntries columns);
  // Thresholds of the rows from the `count` columns of greatest products.
  void seed(SweepEntries rows, SweepEntries columns, std::int64_t count);

  // The same for a single row.
  void probe(const SweepEntry& row, SweepEntries columns, std::int64_t count);

  const SweepCounts& counts() const noexcept { return counts_; }
  static std::int64_t bytes(const Codes& codes) noexcept;

 private:
  // A block as the tiles need it, and what the later filters ask of its rows.
  struct Block {
    SweepEntries entries;
    Codes::Filter filter = Codes::kLow;
    std::vector<float> offset, tail;
    std::vector<float> slack;      // of each tile, the greatest
    std::vector<float> threshold;  // of the scores; infinity where there is no target
    std::vector<FilterBounds> second;
    // The threshold as products of codes must reach it: of the tiles, and of the next filter.
    std::vector<float> product_threshold, second_threshold;

    void resize(std::int64_t rows, std::int64_t tile);
  };
  struct Interval {
    float low, high;
  };
  // Numbers of two entries of the blocks.
  struct BlockPair {
    std::uint16_t row, column;
  };

  std::int64_t depth() const noexcept { return codes_.depth(filter_); }
  void read(SweepEntries entries, std::int64_t tile, Block& block);
  void pack_rows(SweepEntries entries);
  void pack_columns(SweepEntries entries);
  float least_product(float threshold) const noexcept;
  void refresh(Block& block, std::int64_t begin, std::int64_t end);
  void sift(std::int64_t row_tile, std::int64_t column_tile);
  void refine(std::int64_t row, std::vector<std::uint16_t>& columns);
  void apply_second_filter(std::int64_t row, std::vector<std::uint16_t>& columns);
  void apply_unit_filters(std::int64_t row, std::vector<std::uint16_t>& columns);
  void measure(const SweepEntry& row, int channel, bool fine, Interval* out);
  void weigh(int channel, std::size_t count, Interval* similarities) const noexcept;
  void bound_above(std::size_t count);
  std::size_t keep_of_channels(int channel, float threshold, std::vector<std::uint16_t>& columns);
  std::size_t keep_of_pair(int channel, float threshold, std::vector<std::uint16_t>& columns);
  const std::int8_t* unpacked(const std::int8_t* fine, std::int64_t depth);
  void score_passed();
  std::int32_t largest(const std::int32_t* values, std::int64_t count, std::int64_t kept);
  std::int64_t bound_below(const SweepEntry& row);
  void leave_out_positives(const SweepEntry& row);
  void raise_threshold(const SweepEntry& row, SweepEntries columns, const std::int32_t* products,
                       std::int64_t kept);

  const Codes& codes_;
  const RowOrder& order_;
  const std::vector<std::uint32_t>* const places_of_rows_;
  SweepSink& sink_;
  Scorer scorer_;
  const Kernel& kernel_;
  const bool by_magnitude_;
  const bool sum_;
  bool is_plain_pair_ = false;
  std::vector<float> weights_;       // of channels
  std::vector<int> shortest_first_;  // channels
  Codes::Filter filter_ = Codes::kLow;
  const AlignedArray<std::uint8_t> row_panels_;
  const AlignedArray<std::int8_t> column_panels_;
  const AlignedArray<std::int8_t> unpacked_;
  Block rows_, columns_;
  alignas(64) std::int32_t products_[kTileRows * kTileColumns];
  std::uint32_t hits_[kTileRows];
  std::vector<std::uint16_t> passed_columns_[kTileRows];  // the tiles
  std::vector<std::uint32_t> places_;                     // that are measured
  std::vector<const std::int8_t*> pointers_;
  std::vector<std::int32_t> gathered_, coarse_, fine_, mixed_;
  // Of what channels make of a score, of pairs that are still in.
  std::vector<float> high_[kMostChannels], low_[kMostChannels];
  std::vector<float> most_;              // of the scores
  std::vector<BlockPair> passed_pairs_;  // every filter
  std::vector<std::int32_t> seeds_, sorted_;
  std::vector<Interval> similar_;
  std::vector<float> lower_bounds_, upper_bounds_;  // of scores
  SweepCounts counts_;
};

}  // namespace helip::mining
