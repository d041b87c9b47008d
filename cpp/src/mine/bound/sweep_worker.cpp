#include "mine/bound/sweep_worker.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace helip::mining {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kRowTiles = kSweepBlock / kTileRows;
constexpr std::int64_t kColumnTiles = kSweepBlock / kTileColumns;
static_assert(kSweepBlock % kTileRows == 0 && kSweepBlock % kTileColumns == 0);
// Row tiles whose pairs are scored together: their rows fit into a second-level cache.
constexpr std::int64_t kScoredTiles = 8;
// Row tiles between two looks at the thresholds of the columns.
constexpr std::int64_t kRefresh = 4;

std::uint32_t first_bits(std::int64_t count) {
  return count >= 32 ? ~0U : (1U << std::max<std::int64_t>(count, 0)) - 1U;
}

std::int64_t most_depth(const Codes& codes) {
  return std::max(codes.depth(Codes::kHigh), codes.depth(Codes::kLow));
}

std::int64_t most_unit_depth(const Codes& codes) {
  std::int64_t depth = 0;
  for (int c = 0; c < codes.channels(); ++c) depth = std::max(depth, codes.unit_depth(c));
  return depth;
}

}  // namespace

void SweepWorker::Block::resize(std::int64_t rows, std::int64_t tile) {
  const auto tiles = static_cast<std::size_t>((rows + tile - 1) / tile);
  const std::size_t padded = tiles * static_cast<std::size_t>(tile);
  for (auto* values : {&offset, &tail, &threshold, &product_threshold, &second_threshold})
    values->resize(padded);
  slack.resize(tiles);
  second.resize(padded);
}

SweepWorker::SweepWorker(const Corpus& corpus, const Codes& codes, const RowOrder& order,
                         SweepSink& sink, const std::vector<std::uint32_t>* places)
    : codes_(codes),
      order_(order),
      places_of_rows_(places),
      sink_(sink),
      scorer_(corpus, Scorer::kRecentRows),
      kernel_(corpus.kernel()),
      by_magnitude_(is_bounded_by_magnitude(corpus)),
      sum_(corpus.rules().sum),
      shortest_first_(static_cast<std::size_t>(codes.channels())),
      row_panels_(allocate_aligned<std::uint8_t>(kRowTiles * row_panel_bytes(most_depth(codes)))),
      column_panels_(
          allocate_aligned<std::int8_t>(kColumnTiles * column_panel_bytes(most_depth(codes)))),
      unpacked_(allocate_aligned<std::int8_t>(most_unit_depth(codes))) {
  for (const Corpus::Channel& channel : corpus.channels()) {
    weights_.push_back(static_cast<float>(channel.weight));
  }
  is_plain_pair_ = weights_ == std::vector<float>{1.0F, 1.0F} && !sum_ && !by_magnitude_;
  std::iota(shortest_first_.begin(), shortest_first_.end(), 0);
  std::stable_sort(shortest_first_.begin(), shortest_first_.end(),
                   [&codes](int a, int b) { return codes.unit_depth(a) < codes.unit_depth(b); });
}

std::int64_t SweepWorker::bytes(const Codes& codes) noexcept {
  return kRowTiles * row_panel_bytes(most_depth(codes)) +
         kColumnTiles * column_panel_bytes(most_depth(codes)) +
         2 * kSweepBlock * static_cast<std::int64_t>(sizeof(FilterBounds) + 8 * sizeof(float)) +
         static_cast<std::int64_t>(sizeof(SweepWorker));
}

void SweepWorker::run(SweepEntries rows, SweepEntries columns, Codes::Filter filter) {
  const bool diagonal = rows.data() == columns.data();
  if (filter != filter_) rows_.entries = {};
  filter_ = filter;
  pack_rows(rows);
  pack_columns(columns);
  const auto row_count = static_cast<std::int64_t>(rows.size());
  const auto column_count = static_cast<std::int64_t>(columns.size());
  for (std::int64_t row_tile = 0; row_tile * kTileRows < row_count; ++row_tile) {
    if (row_tile % kRefresh == 0) refresh(columns_, 0, column_count);
    const std::int64_t row = row_tile * kTileRows;
    const std::int64_t row_end = std::min(row_count, row + kTileRows);
    refresh(rows_, row, row_end);
    for (auto& list : passed_columns_) list.clear();
    for (std::int64_t tile = 0; tile * kTileColumns < column_count; ++tile) {
      const std::int64_t column = tile * kTileColumns;
      if (diagonal && column + kTileColumns - 1 <= row) continue;
      sift(row_tile, tile);
      for (std::int64_t r = 0; row + r < row_end; ++r) {
        std::uint32_t hits = hits_[r] & first_bits(column_count - column);
        if (diagonal) hits &= ~first_bits(row + r + 1 - column);
        for (; hits != 0; hits &= hits - 1) {
          passed_columns_[r].push_back(static_cast<std::uint16_t>(column + std::countr_zero(hits)));
        }
      }
    }
    for (std::int64_t r = 0; row + r < row_end; ++r) {
      if (!passed_columns_[r].empty()) refine(row + r, passed_columns_[r]);
    }
    if (row_tile % kScoredTiles == kScoredTiles - 1) score_passed();
  }
  score_passed();
  counts_.pairs += diagonal ? row_count * (row_count - 1) / 2 : row_count * column_count;
}

void SweepWorker::run_row(const SweepEntry& row, SweepEntries columns) {
  filter_ = Codes::kLow;
  read({&row, 1}, kTileRows, rows_);
  constexpr auto kBlock = static_cast<std::size_t>(kSweepBlock);
  for (std::size_t first = 0; first < columns.size(); first += kBlock) {
    const SweepEntries some = columns.subspan(first, std::min(kBlock, columns.size() - first));
    const auto count = static_cast<std::int64_t>(some.size());
    read(some, kTileColumns, columns_);
    refresh(columns_, 0, count);
    refresh(rows_, 0, 1);
    passed_columns_[0].resize(some.size());
    std::iota(passed_columns_[0].begin(), passed_columns_[0].end(), std::uint16_t{0});
    refine(0, passed_columns_[0]);
    score_passed();
    counts_.pairs += count;
  }
  rows_.entries = {};  // were not packed
}

void SweepWorker::read(SweepEntries entries, std::int64_t tile, Block& block) {
  const auto count = static_cast<std::int64_t>(entries.size());
  const bool has_second = codes_.depth(Codes::kSecond) > 0;
  block.entries = entries;
  block.resize(count, tile);
  std::fill(block.slack.begin(), block.slack.end(), 0.0F);
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(block.offset.size()); ++i) {
    const auto at = static_cast<std::size_t>(i);
    // What lies beyond the end repeats the last row; its hits are masked.
    const SweepEntry& entry = entries[static_cast<std::size_t>(std::min(i, count - 1))];
    const FilterBounds& first = codes_.bounds(filter_, entry.place);
    block.offset[at] = first.offset;
    block.tail[at] = first.tail;
    block.product_threshold[at] = kInfinity;
    block.threshold[at] = kInfinity;
    block.second_threshold[at] = kInfinity;
    float& slack = block.slack[static_cast<std::size_t>(i / tile)];
    slack = std::max(slack, first.slack);
    if (has_second) block.second[at] = codes_.bounds(Codes::kSecond, entry.place);
  }
}

void SweepWorker::pack_rows(SweepEntries entries) {
  if (rows_.entries.data() == entries.data() && rows_.entries.size() == entries.size()) return;
  read(entries, kTileRows, rows_);
  const std::int8_t* codes[kTileRows];
  for (std::size_t row = 0; row < entries.size(); row += kTileRows) {
    for (std::size_t r = 0; r < kTileRows; ++r) {
      codes[r] = codes_.codes(filter_, entries[std::min(row + r, entries.size() - 1)].place);
    }
    kernel_.pack_row_codes(
        codes, depth(),
        row_panels_.get() + static_cast<std::int64_t>(row / kTileRows) * row_panel_bytes(depth()));
  }
}

void SweepWorker::pack_columns(SweepEntries entries) {
  read(entries, kTileColumns, columns_);
  const std::int8_t* codes[kTileColumns];
  for (std::size_t column = 0; column < entries.size(); column += kTileColumns) {
    for (std::size_t c = 0; c < kTileColumns; ++c) {
      codes[c] = codes_.codes(filter_, entries[std::min(column + c, entries.size() - 1)].place);
    }
    kernel_.pack_column_codes(
        codes, depth(),
        column_panels_.get() +
            static_cast<std::int64_t>(column / kTileColumns) * column_panel_bytes(depth()));
  }
}

// The least inner product of two rows that score `threshold`, slightly rounded down.
float SweepWorker::least_product(float threshold) const noexcept {
  if (threshold == kInfinity) return kInfinity;
  return mining::least_product(scorer_.corpus(), threshold) * (1.0F - 1e-6F);
}

void SweepWorker::refresh(Block& block, std::int64_t begin, std::int64_t end) {
  const auto factor = static_cast<float>(codes_.factor(filter_));
  const auto second_factor = static_cast<float>(codes_.factor(Codes::kSecond));
  for (std::int64_t i = begin; i < end; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const std::int32_t target = block.entries[at].target;
    block.threshold[at] = target < 0 ? kInfinity : sink_.threshold(target);
    const float least = least_product(block.threshold[at]);
    block.product_threshold[at] = least * factor;
    block.second_threshold[at] = least * second_factor;
  }
}

// Holds one tile against the thresholds: bits of `hits_`.
void SweepWorker::sift(std::int64_t row_tile, std::int64_t column_tile) {
  kernel_.code_products(row_panels_.get() + row_tile * row_panel_bytes(depth()),
                        column_panels_.get() + column_tile * column_panel_bytes(depth()), depth(),
                        products_);
  const std::int64_t row = row_tile * kTileRows;
  const std::int64_t column = column_tile * kTileColumns;
  const float slack = rows_.slack[static_cast<std::size_t>(row_tile)] +
                      columns_.slack[static_cast<std::size_t>(column_tile)];
  float row_threshold[kTileRows];
  for (int r = 0; r < kTileRows; ++r)
    row_threshold[r] = rows_.product_threshold.data()[row + r] - slack;
  float column_threshold[kTileColumns];
  for (int c = 0; c < kTileColumns; ++c)
    column_threshold[c] = columns_.product_threshold.data()[column + c] - slack;
  kernel_.prefilter(
      {products_,
       {rows_.offset.data() + row, rows_.tail.data() + row, row_threshold},
       {columns_.offset.data() + column, columns_.tail.data() + column, column_threshold},
       by_magnitude_},
      hits_);
}

// The columns that a row's tiles let pass, through the other filters.
void SweepWorker::refine(std::int64_t row, std::vector<std::uint16_t>& columns) {
  counts_.first += static_cast<std::int64_t>(columns.size());
  if (codes_.depth(Codes::kSecond) > 0) {
    apply_second_filter(row, columns);
    counts_.second += static_cast<std::int64_t>(columns.size());
  }
  apply_unit_filters(row, columns);
  counts_.scored += static_cast<std::int64_t>(columns.size());
  for (const std::uint16_t column : columns)
    passed_pairs_.push_back({static_cast<std::uint16_t>(row), column});
}

void SweepWorker::apply_second_filter(std::int64_t row, std::vector<std::uint16_t>& columns) {
  const auto at = static_cast<std::size_t>(row);
  const std::size_t count = columns.size();
  pointers_.resize(count);
  gathered_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    pointers_[i] = codes_.codes(Codes::kSecond, columns_.entries[columns[i]].place);
  }
  kernel_.gather_products(codes_.codes(Codes::kSecond, rows_.entries[at].place), pointers_.data(),
                          static_cast<std::int64_t>(count), codes_.depth(Codes::kSecond),
                          gathered_.data());
  const FilterBounds own = rows_.second[at];
  const float threshold = rows_.second_threshold[at];
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t column = columns[i];
    const FilterBounds& other = columns_.second[column];
    float product = static_cast<float>(kernel_.limits.exact_product(gathered_[i], other.sum)) +
                    own.offset + other.offset;
    if (by_magnitude_) product = std::abs(product);
    const float bound = product + own.tail * other.tail + own.slack + other.slack;
    columns[kept] = column;
    kept += bound >= std::min(threshold, columns_.second_threshold[column]) ? 1 : 0;
  }
  columns.resize(kept);
}

// The fine codes of a row in a byte each.
const std::int8_t* SweepWorker::unpacked(const std::int8_t* fine, std::int64_t depth) {
  std::int8_t* out = unpacked_.get();
  for (std::int64_t k = 0; k < depth; k += 128) {
    for (std::int64_t i = 0; i < 64; ++i) {
      const auto both = static_cast<std::uint8_t>(fine[k / 2 + i]);
      out[k + i] = static_cast<std::int8_t>((both & 15) - 8);
      out[k + 64 + i] = static_cast<std::int8_t>((both >> 4) - 8);
    }
  }
  return out;
}

// Bounds of one channel's similarities of a row and those at places_, by the coarse codes alone or
// by both.
void SweepWorker::measure(const SweepEntry& row, int channel, bool fine, Interval* out) {
  const auto count = static_cast<std::int64_t>(places_.size());
  const std::int64_t depth = codes_.unit_depth(channel);
  const auto codes = [&](std::uint32_t place) { return codes_.unit(channel, place); };
  const auto point = [&](std::int64_t offset) {
    pointers_.resize(places_.size());
    for (std::size_t i = 0; i < places_.size(); ++i) pointers_[i] = codes(places_[i]) + offset;
  };
  coarse_.resize(places_.size());
  point(0);
  kernel_.gather_products(codes(row.place), pointers_.data(), count, depth, coarse_.data());
  if (fine) {
    mixed_.resize(places_.size());
    kernel_.gather_products(unpacked(codes(row.place) + depth, depth), pointers_.data(), count,
                            depth, mixed_.data());
    fine_.resize(places_.size());
    point(depth);
    kernel_.gather_fine(codes(row.place), pointers_.data(), count, depth, fine_.data());
  }
  const UnitBounds own = codes_.unit_bounds(channel, row.place);
  const CodeLimits& limits = kernel_.limits;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const UnitBounds& other = codes_.unit_bounds(channel, places_[i]);
    auto product = static_cast<float>(limits.exact_product(coarse_[i], other.sum));
    float error = own.error + other.error;
    if (fine) {
      product +=
          static_cast<float>(fine_[i] + limits.exact_product(mixed_[i], other.sum)) / kFineSteps;
      error = own.fine_error + other.fine_error;
    }
    const float similarity = own.scale * other.scale * product + own.offset + other.offset;
    out[i] = {std::max(similarity - error, -1.0F), std::min(similarity + error, 1.0F)};
  }
}

// What similarities of a channel add to the mean of all, or are multiplied with others as, in
// place: without signs the negative does not count.
void SweepWorker::weigh(int channel, std::size_t count, Interval* similarities) const noexcept {
  const float weight = weights_[static_cast<std::size_t>(channel)];
  for (std::size_t i = 0; i < count; ++i) {
    Interval& own = similarities[i];
    if (sum_) {
      // The sum may be far less than what is rounded.
      own = {weight * own.low - 1e-6F, weight * own.high + 1e-6F};
    } else if (!by_magnitude_ && (weight != 1.0F || weights_.size() > 1)) {
      own = {std::max(own.low, 0.0F), std::max(own.high, 0.0F)};
    }
  }
  if (sum_ || weight == 1.0F) return;
  for (std::size_t i = 0; i < count; ++i) {
    similarities[i] = {std::pow(similarities[i].low, weight),
                       std::pow(similarities[i].high, weight)};
  }
}

// No less than the scores of pairs whose similarities are within high_ and low_, into most_.
void SweepWorker::bound_above(std::size_t count) {
  most_.resize(std::max(most_.size(), count));
  if (by_magnitude_) {
    for (std::size_t i = 0; i < count; ++i) {
      most_[i] = std::max(std::max(low_[0][i] * low_[1][i], low_[0][i] * high_[1][i]),
                          std::max(high_[0][i] * low_[1][i], high_[0][i] * high_[1][i]));
    }
    return;
  }
  std::copy_n(high_[0].begin(), count, most_.begin());
  for (int c = 1; c < codes_.channels(); ++c) {
    float* most = most_.data();
    const float* high = high_[c].data();
    if (sum_) {
      for (std::size_t i = 0; i < count; ++i) most[i] += high[i];
    } else {
      for (std::size_t i = 0; i < count; ++i) most[i] *= high[i];
    }
  }
}

// Puts the columns first that are still in, now that similarities of a channel were measured;
// returns how many these are.
std::size_t SweepWorker::keep_of_channels(int channel, float threshold,
                                          std::vector<std::uint16_t>& columns) {
  const std::size_t count = columns.size();
  weigh(channel, count, similar_.data());
  for (std::size_t i = 0; i < count; ++i) {
    high_[channel][i] = similar_[i].high;
    low_[channel][i] = similar_[i].low;
  }
  bound_above(count);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint16_t column = columns[i];
    columns[kept] = column;
    for (int c = 0; c < codes_.channels(); ++c) {
      high_[c][kept] = high_[c][i];
      low_[c][kept] = low_[c][i];
    }
    kept += most_[i] * (1.0F + 1e-6F) >= std::min(threshold, columns_.threshold[column]) ? 1 : 0;
  }
  return kept;
}

// The same of two unweighted similarities that are multiplied without signs, in one pass.
std::size_t SweepWorker::keep_of_pair(int channel, float threshold,
                                      std::vector<std::uint16_t>& columns) {
  float* own = high_[channel].data();
  float* other = high_[1 - channel].data();
  std::size_t kept = 0;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const std::uint16_t column = columns[i];
    const float high = std::max(similar_[i].high, 0.0F);
    const float most = high * other[i];
    columns[kept] = column;
    own[kept] = high;
    other[kept] = other[i];
    kept += most * (1.0F + 1e-6F) >= std::min(threshold, columns_.threshold[column]) ? 1 : 0;
  }
  return kept;
}

// By the codes of all channels: first the coarse ones of the shortest, since other similarities are
// at most 1, in the end the fine ones where there are any.
void SweepWorker::apply_unit_filters(std::int64_t row, std::vector<std::uint16_t>& columns) {
  const SweepEntry& own = rows_.entries[static_cast<std::size_t>(row)];
  const float threshold = rows_.threshold[static_cast<std::size_t>(row)];
  const int channels = codes_.channels();
  similar_.resize(std::max(similar_.size(), columns.size()));
  for (int c = 0; c < channels; ++c) {
    Interval unknown{-1.0F, 1.0F};
    weigh(c, 1, &unknown);
    for (auto [bounds, value] :
         {std::pair(&high_[c], unknown.high), std::pair(&low_[c], unknown.low)}) {
      if (bounds->size() < columns.size()) bounds->resize(columns.size());
      std::fill_n(bounds->begin(), columns.size(), value);
    }
  }
  for (const bool fine : {false, true}) {
    if (fine && !codes_.has_fine()) return;
    for (const int channel : shortest_first_) {
      if (columns.empty()) return;
      places_.clear();
      for (const std::uint16_t column : columns) places_.push_back(columns_.entries[column].place);
      measure(own, channel, fine, similar_.data());
      columns.resize(is_plain_pair_ ? keep_of_pair(channel, threshold, columns)
                                    : keep_of_channels(channel, threshold, columns));
    }
  }
}

// What is left of some rows of tiles. By column: rows that lie close together want the same ones,
// which are then still in the cache.
void SweepWorker::score_passed() {
  std::sort(passed_pairs_.begin(), passed_pairs_.end(), [](const BlockPair& a, const BlockPair& b) {
    return a.column != b.column ? a.column < b.column : a.row < b.row;
  });
  for (std::size_t i = 0; i < passed_pairs_.size(); ++i) {
    const SweepEntry& row = rows_.entries[passed_pairs_[i].row];
    const SweepEntry& column = columns_.entries[passed_pairs_[i].column];
    if (row.place == column.place) continue;
    if (i + 1 < passed_pairs_.size() && passed_pairs_[i + 1].column != passed_pairs_[i].column) {
      scorer_.prefetch(order_.rows[columns_.entries[passed_pairs_[i + 1].column].place]);
    }
    sink_.score_pair(row.target, order_.rows[column.place], column.target, scorer_);
  }
  passed_pairs_.clear();
}

}  // namespace helip::mining
