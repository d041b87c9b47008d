// First thresholds of a sweep's targets, from bounds of the scores of rows that look best.
#include <algorithm>
#include <functional>
#include <limits>

#include "mine/bound/sweep_worker.h"

namespace helip::mining {

// The `kept`-th largest of some values. Most are ruled out by a least value that a few of them
// suggest.
std::int32_t SweepWorker::largest(const std::int32_t* values, std::int64_t count,
                                  std::int64_t kept) {
  constexpr std::int64_t kFew = 128;
  std::int32_t least = std::numeric_limits<std::int32_t>::min();
  if (count >= 4 * kFew && kept < count / 4) {
    sorted_.clear();
    for (std::int64_t i = 0; i < kFew; ++i) {
      sorted_.push_back(values[i * count / kFew]);
    }
    const auto rank = std::min(kFew - 1, 2 * kept * kFew / count + 4);
    std::nth_element(sorted_.begin(), sorted_.begin() + rank, sorted_.end(), std::greater<>());
    least = sorted_[static_cast<std::size_t>(rank)];
  }
  sorted_.resize(static_cast<std::size_t>(count));
  std::int64_t size = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    sorted_[static_cast<std::size_t>(size)] = values[i];
    size += values[i] >= least ? 1 : 0;
  }
  if (size < kept) {
    std::copy_n(values, count, sorted_.begin());
    size = count;
  }
  std::nth_element(sorted_.begin(), sorted_.begin() + (kept - 1), sorted_.begin() + size,
                   std::greater<>());
  return sorted_[static_cast<std::size_t>(kept - 1)];
}

// Lower bounds of the scores of a row and those at places_, into lower_bounds_: 0 where a rule may
// keep a pair out. Returns how many of them are not.
std::int64_t SweepWorker::bound_below(const SweepEntry& row) {
  const std::size_t size = places_.size();
  const Corpus& corpus = scorer_.corpus();
  lower_bounds_.assign(size, sum_ ? 0.0F : 1.0F);
  upper_bounds_ = lower_bounds_;
  similar_.resize(std::max(similar_.size(), size));
  std::vector<bool> duplicate(size);
  for (int c = 0; c < codes_.channels(); ++c) {
    measure(row, c, true, similar_.data());
    const double maximum = corpus.channels()[static_cast<std::size_t>(c)].maximum;
    const auto surely = static_cast<float>(maximum) * (1.0F - 1e-6F);
    for (std::size_t i = 0; i < size; ++i) {
      // Counts only what is positive and no near duplicate, beyond doubt.
      if (maximum < 1.0 && similar_[i].high > surely) duplicate[i] = true;
      if (by_magnitude_)
        similar_[i] = {std::max(similar_[i].low, 0.0F), std::max(similar_[i].high, 0.0F)};
    }
    weigh(c, size, similar_.data());
    for (std::size_t i = 0; i < size; ++i) {
      const Interval own = similar_[i];
      lower_bounds_[i] = sum_ ? lower_bounds_[i] + own.low : lower_bounds_[i] * own.low;
      upper_bounds_[i] = sum_ ? upper_bounds_[i] + own.high : upper_bounds_[i] * own.high;
    }
  }
  for (std::size_t i = 0; i < size; ++i) {
    lower_bounds_[i] = duplicate[i] ? 0.0F : std::max(lower_bounds_[i], 0.0F);
  }
  if (corpus.queries() > 0) leave_out_positives(row);
  return static_cast<std::int64_t>(size) -
         std::count(lower_bounds_.begin(), lower_bounds_.end(), 0.0F);
}

// Of a query, none of whose positives is at places_: what may be a near duplicate of one, and what
// may be too close.
void SweepWorker::leave_out_positives(const SweepEntry& row) {
  const Corpus& corpus = scorer_.corpus();
  const std::int64_t query = order_.rows[row.place];
  const double most = corpus.most(query);
  const auto positives = corpus.positives_of(query);
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (static_cast<double>(upper_bounds_[i]) * (1.0 + 1e-6) > most) lower_bounds_[i] = 0.0F;
  }
  for (const std::uint32_t positive : positives) {
    const std::uint32_t place = (*places_of_rows_)[positive];
    for (int c = 0; c < codes_.channels(); ++c) {
      const Corpus::Channel& channel = corpus.channels()[static_cast<std::size_t>(c)];
      if (channel.maximum >= 1.0) continue;
      if (place == kNoPlace) {
        // It has no codes, since one of its channels is zero. By another it has near duplicates all
        // the same, which nobody knows here.
        if (channel.rows.length(positive) != 0.0)
          std::fill(lower_bounds_.begin(), lower_bounds_.end(), 0.0F);
        continue;
      }
      measure({place, -1}, c, true, similar_.data());
      const auto surely = static_cast<float>(channel.maximum) * (1.0F - 1e-6F);
      for (std::size_t i = 0; i < places_.size(); ++i) {
        if (similar_[i].high > surely) lower_bounds_[i] = 0.0F;
      }
    }
  }
}

// The threshold of one row, given the filter's products with all columns.
void SweepWorker::raise_threshold(const SweepEntry& row, SweepEntries columns,
                                  const std::int32_t* products, std::int64_t kept) {
  const auto width = static_cast<std::int64_t>(columns.size());
  if (width < kept) return;
  // A few more than are kept: the best by these products need not be the best by score. Of near
  // duplicates, whose products are the greatest, more are looked at, up to a bound: in some data
  // all rows nearby have one caption.
  const std::int64_t wanted = kept + kept / 16 + 4;
  const auto positives = scorer_.corpus().positives_of(order_.rows[row.place]);
  const auto is_positive = [&](std::uint32_t place) {
    return std::binary_search(positives.begin(), positives.end(), order_.rows[place]);
  };
  const std::int64_t most =
      std::min(width, 4 * wanted + static_cast<std::int64_t>(positives.size()));
  std::int64_t count = std::min(width, wanted);
  for (;;) {
    const std::int32_t least = largest(products, width, count);
    places_.clear();
    for (std::int64_t c = 0; c < width; ++c) {
      const std::uint32_t place = columns[static_cast<std::size_t>(c)].place;
      if (products[c] >= least && place != row.place && !is_positive(place)) {
        places_.push_back(place);
      }
    }
    const std::int64_t counted = bound_below(row);
    if (counted + kept / 32 + 1 >= wanted || count == most) break;
    count = std::min(most, std::max(2 * count, count + wanted - counted));
  }
  if (static_cast<std::int64_t>(places_.size()) < kept) return;
  std::nth_element(lower_bounds_.begin(), lower_bounds_.begin() + (kept - 1), lower_bounds_.end(),
                   std::greater<>());
  sink_.raise_threshold(row.target,
                        lower_bounds_[static_cast<std::size_t>(kept - 1)] * (1.0F - 1e-6F));
}

void SweepWorker::probe(const SweepEntry& row, SweepEntries columns, std::int64_t kept) {
  const auto width = static_cast<std::int64_t>(columns.size());
  pointers_.resize(columns.size());
  seeds_.resize(columns.size());
  for (std::size_t c = 0; c < columns.size(); ++c) {
    pointers_[c] = codes_.codes(Codes::kLow, columns[c].place);
  }
  kernel_.gather_products(codes_.codes(Codes::kLow, row.place), pointers_.data(), width,
                          codes_.depth(Codes::kLow), seeds_.data());
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const FilterBounds& bounds = codes_.bounds(Codes::kLow, columns[c].place);
    seeds_[c] = kernel_.limits.exact_product(seeds_[c], bounds.sum) +
                static_cast<std::int32_t>(bounds.offset);
  }
  raise_threshold(row, columns, seeds_.data(), kept);
}

void SweepWorker::seed(SweepEntries rows, SweepEntries columns, std::int64_t kept) {
  filter_ = Codes::kLow;
  rows_.entries = {};
  pack_rows(rows);
  const auto row_count = static_cast<std::int64_t>(rows.size());
  const auto width = static_cast<std::int64_t>(columns.size());
  seeds_.resize(static_cast<std::size_t>(row_count * width));
  for (std::int64_t from = 0; from < width; from += kSweepBlock) {
    const std::int64_t size = std::min(kSweepBlock, width - from);
    pack_columns(columns.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(size)));
    for (std::int64_t row_tile = 0; row_tile * kTileRows < row_count; ++row_tile) {
      const std::int64_t row = row_tile * kTileRows;
      for (std::int64_t column = 0; column < size; column += kTileColumns) {
        kernel_.code_products(
            row_panels_.get() + row_tile * row_panel_bytes(depth()),
            column_panels_.get() + column / kTileColumns * column_panel_bytes(depth()), depth(),
            products_);
        for (std::int64_t r = 0; r < std::min<std::int64_t>(kTileRows, row_count - row); ++r) {
          std::int32_t* out = seeds_.data() + (row + r) * width + from + column;
          // The row's own offset is the same for all.
          for (std::int64_t c = 0; c < std::min<std::int64_t>(kTileColumns, size - column); ++c) {
            out[c] =
                products_[r * kTileColumns + c] +
                static_cast<std::int32_t>(columns_.offset[static_cast<std::size_t>(column + c)]);
          }
        }
      }
    }
  }
  for (std::int64_t r = 0; r < row_count; ++r) {
    raise_threshold(rows[static_cast<std::size_t>(r)], columns, seeds_.data() + r * width, kept);
  }
}

}  // namespace helip::mining
