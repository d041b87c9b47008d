#include "scan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <new>

namespace helip::mining {
namespace {

// Columns are packed three panels at a time: with 1,664 dimensions they fill two thirds of a
// second-level cache of 1 MiB, while the panels of rows stream past them.
constexpr std::int64_t kPanelsPerGroup = 3;
constexpr std::int64_t kGroupColumns = kPanelsPerGroup * kTileColumns;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct AlignedDelete {
  void operator()(float* p) const { ::operator delete(p, std::align_val_t{64}); }
};
using AlignedFloats = std::unique_ptr<float, AlignedDelete>;

AlignedFloats allocate_floats(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(float);
  return AlignedFloats(static_cast<float*>(::operator new(bytes, std::align_val_t{64})));
}

struct ColumnGroup {
  std::int64_t begin;
  std::int64_t end;
  bool mirrored;  // these columns are targets as well
};

ScreenLimits limits_for(const Rules& rules, const Filter& filter) {
  ScreenLimits limits;
  const auto set = [&rules](double maximum, double error, float& drop, float& certain, float& doubt,
                            float& floor) {
    // Cosines are at most 1, so a maximum of 1 drops nothing.
    const bool drops = maximum < 1.0;
    drop = drops ? static_cast<float>(maximum) : kInfinity;
    certain = drops ? std::nextafter(static_cast<float>(maximum + error), kInfinity) : kInfinity;
    doubt = drops ? std::nextafter(static_cast<float>(maximum - error), -kInfinity) : kInfinity;
    floor =
        rules.signed_products ? -kInfinity : std::nextafter(static_cast<float>(-error), -kInfinity);
  };
  set(rules.image_max, filter.image_error(), limits.image_max, limits.image_certain,
      limits.image_doubt, limits.image_floor);
  set(rules.text_max, filter.text_error(), limits.text_max, limits.text_certain, limits.text_doubt,
      limits.text_floor);
  limits.min_score = static_cast<float>(rules.min_score);
  limits.signed_products = rules.signed_products;
  return limits;
}

std::uint32_t first_bits(std::int64_t count) {
  return count >= 32 ? ~0U : (1U << std::max<std::int64_t>(count, 0)) - 1U;
}

struct alignas(64) Tile {
  float image[kTileRows * kTileColumns];
  float text[kTileRows * kTileColumns];
  float score[kTileRows * kTileColumns];
  float column_threshold[kTileColumns];
};

// One thread's part in a scan.
class TileScanner {
 public:
  TileScanner(const Corpus& corpus, const Filter& filter, const ScanJob& job, Pools& pools)
      : filter_(filter),
        job_(job),
        pools_(pools),
        scorer_(corpus),
        limits_(limits_for(corpus.rules(), filter)) {}

  // Rows [row, row_end) of one panel against columns [column, column_end) of another.
  void scan_tile(const float* row_panel, const float* column_panel, std::int64_t row,
                 std::int64_t row_end, std::int64_t column, std::int64_t column_end,
                 bool mirrored) {
    filter_.similarities(row_panel, column_panel, tile_.image, tile_.text);
    for (int c = 0; c < kTileColumns; ++c) {
      const bool target = mirrored && column + c < column_end;
      tile_.column_threshold[c] = target ? pools_.threshold(column + c - job_.mirror) : kInfinity;
    }
    const std::uint32_t present = first_bits(column_end - column);
    std::uint32_t column_hits[kTileRows] = {};
    std::uint32_t any_column = 0;
    DropCounts counts;
    for (std::int64_t i = 0; row + i < row_end; ++i) {
      std::uint32_t valid = present;
      const std::int64_t self = job_.self[static_cast<std::size_t>(row + i)];
      if (mirrored) {
        // Pairs up to the diagonal were scored from the other side.
        valid &= ~first_bits(job_.mirror + row + i + 1 - column);
      } else if (self >= column && self < column + kTileColumns) {
        valid &= ~(1U << (self - column));
      }
      float* score = tile_.score + i * kTileColumns;
      const ScreenRow screened{tile_.image + i * kTileColumns, tile_.text + i * kTileColumns,
                               tile_.column_threshold, pools_.threshold(row + i), valid};
      ScreenHits hits = kernel().screen(screened, limits_, score, counts);
      if ((hits.row | hits.column) == 0) continue;
      settle_doubts(row + i, column, score, hits);
      offer_row(row + i, column, score, hits.row);
      column_hits[i] = hits.column;
      any_column |= hits.column;
    }
    for (std::uint32_t rest = any_column; rest != 0; rest &= rest - 1) {
      offer_column(row, column, std::countr_zero(rest), column_hits);
    }
    counts_.add(counts, mirrored ? 2 : 1);
  }

  const DropCounts& counts() const { return counts_; }

 private:
  const Kernel& kernel() const { return scorer_.corpus().kernel(); }

  // So close to a duplicate threshold that float32 cannot tell: only pairs that truly count may
  // raise a threshold.
  void settle_doubts(std::int64_t row, std::int64_t column, float* score, ScreenHits& hits) {
    for (std::uint32_t rest = hits.doubt; rest != 0; rest &= rest - 1) {
      const int c = std::countr_zero(rest);
      scorer_.set_target(job_.targets[row]);
      if (const auto exact = scorer_.score(job_.columns[column + c])) {
        score[c] = static_cast<float>(*exact);
      } else {
        hits.row &= ~(1U << c);
        hits.column &= ~(1U << c);
      }
    }
  }

  void offer_row(std::int64_t row, std::int64_t column, const float* score, std::uint32_t hits) {
    Candidate found[kTileColumns];
    std::int64_t count = 0;
    for (std::uint32_t rest = hits; rest != 0; rest &= rest - 1) {
      const int c = std::countr_zero(rest);
      found[count++] = {score[c], static_cast<std::uint32_t>(job_.columns[column + c])};
    }
    if (count > 0) pools_.offer(row, found, count, scorer_);
  }

  void offer_column(std::int64_t row, std::int64_t column, int c,
                    const std::uint32_t (&hits)[kTileRows]) {
    Candidate found[kTileRows];
    std::int64_t count = 0;
    for (int i = 0; i < kTileRows; ++i) {
      if ((hits[i] >> c & 1U) == 0) continue;
      found[count++] = {tile_.score[i * kTileColumns + c],
                        static_cast<std::uint32_t>(job_.targets[row + i])};
    }
    pools_.offer(column + c - job_.mirror, found, count, scorer_);
  }

  const Filter& filter_;
  const ScanJob& job_;
  Pools& pools_;
  Scorer scorer_;
  const ScreenLimits limits_;
  Tile tile_;
  DropCounts counts_;
};

// Groups of columns that a block of targets from `row` on has still to meet.
std::vector<ColumnGroup> groups_for(const ScanJob& job, std::int64_t row) {
  std::vector<ColumnGroup> groups;
  const auto cover = [&groups](std::int64_t begin, std::int64_t end, bool mirrored) {
    for (std::int64_t at = begin; at < end; at += kGroupColumns) {
      groups.push_back({at, std::min(end, at + kGroupColumns), mirrored});
    }
  };
  if (job.mirror < 0) {
    cover(0, job.columns.size, false);
  } else {
    cover(job.mirror + row, job.mirror + job.targets.size, true);
    cover(0, job.mirror, false);
    cover(job.mirror + job.targets.size, job.columns.size, false);
  }
  return groups;
}

std::int64_t block_rows_of(const ScanJob& job) {
  return job.block_rows > 0 ? job.block_rows : kDefaultBlockRows;
}

}  // namespace

std::int64_t ScanJob::work() const noexcept {
  if (mirror < 0) return targets.size * columns.size;
  std::int64_t pairs = targets.size * (columns.size - targets.size);
  const std::int64_t step = block_rows_of(*this);
  for (std::int64_t row = 0; row < targets.size; row += step) {
    pairs += std::min(step, targets.size - row) * (targets.size - row);
  }
  return pairs;
}

std::int64_t scan_bytes(const Filter& filter, std::int64_t block_rows, int threads) noexcept {
  const std::int64_t row_panels = (block_rows + kTileRows - 1) / kTileRows;
  const std::int64_t floats =
      row_panels * filter.row_panel_size() + threads * kPanelsPerGroup * filter.column_panel_size();
  return floats * static_cast<std::int64_t>(sizeof(float));
}

double score_error(const Filter& filter) noexcept {
  const double image = filter.image_error();
  const double text = filter.text_error();
  return image + text + image * text + 0x1p-23;  // the last term: the product's own rounding
}

DropCounts scan(const Corpus& corpus, const Filter& filter, const ScanJob& job, Pools& pools,
                Team& team) {
  const std::int64_t block_rows =
      std::min((block_rows_of(job) + kTileRows - 1) / kTileRows * kTileRows,
               (job.targets.size + kTileRows - 1) / kTileRows * kTileRows);
  const AlignedFloats row_panels =
      allocate_floats(block_rows / kTileRows * filter.row_panel_size());
  DropCounts counts;
  std::mutex counts_mutex;

  for (std::int64_t first = 0; first < job.targets.size; first += block_rows) {
    const std::int64_t last = std::min(job.targets.size, first + block_rows);
    const std::int64_t panels = (last - first + kTileRows - 1) / kTileRows;
    team.for_blocks(panels, 4, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t panel = begin; panel < end; ++panel) {
        filter.pack_rows(job.targets, first + panel * kTileRows,
                         row_panels.get() + panel * filter.row_panel_size());
      }
    });

    const std::vector<ColumnGroup> groups = groups_for(job, first);
    std::atomic<std::size_t> next{0};
    team.run([&](int) {
      TileScanner scanner(corpus, filter, job, pools);
      const AlignedFloats columns = allocate_floats(kPanelsPerGroup * filter.column_panel_size());
      while (!team.stopped()) {
        const std::size_t place = next.fetch_add(1);
        if (place >= groups.size()) break;
        const ColumnGroup& group = groups[place];
        const RowList present{job.columns.ids, job.columns.first, group.end};
        const std::int64_t width = (group.end - group.begin + kTileColumns - 1) / kTileColumns;
        for (std::int64_t p = 0; p < width; ++p) {
          filter.pack_columns(present, group.begin + p * kTileColumns,
                              columns.get() + p * filter.column_panel_size());
        }
        for (std::int64_t panel = 0; panel < panels && !team.stopped(); ++panel) {
          const std::int64_t row = first + panel * kTileRows;
          const std::int64_t row_end = std::min(last, row + kTileRows);
          for (std::int64_t p = 0; p < width; ++p) {
            const std::int64_t column = group.begin + p * kTileColumns;
            const std::int64_t column_end = std::min(group.end, column + kTileColumns);
            if (group.mirrored && column_end - 1 - job.mirror <= row) continue;
            scanner.scan_tile(row_panels.get() + panel * filter.row_panel_size(),
                              columns.get() + p * filter.column_panel_size(), row, row_end, column,
                              column_end, group.mirrored);
          }
        }
        team.add_work((last - first) * (group.end - group.begin));
      }
      const std::lock_guard lock(counts_mutex);
      counts.add(scanner.counts(), 1);
    });
  }
  return counts;
}

}  // namespace helip::mining
