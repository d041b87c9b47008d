// The filter kernel, block by block, warp by warp and lane by lane on the host: the same index
// functions and the same arithmetic, with plain arrays for shared memory and registers and with
// ldmatrix and mma written out from their definition (PTX ISA). What it cannot show: the copies
// that overlap with products, and the order of atomic operations.
#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "product_filter.h"
#include "product_tile.h"

namespace helip {
namespace {

using namespace product;

float widen(std::uint16_t bits, std::int32_t format) {
  if (format == kHelipBfloat16) return std::bit_cast<float>(std::uint32_t{bits} << 16);
  const std::uint32_t sign = std::uint32_t{bits & 0x8000U} << 16;
  const std::uint32_t rest = bits & 0x7fffU;
  // Subnormal numbers too, by an exact product; no infinity and no NaN occurs in unit rows.
  const float size = std::bit_cast<float>(rest << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(size) | sign);
}

// What ldmatrix.x4 leaves in a lane: four registers of two numbers.
using Registers = std::array<std::array<std::uint16_t, 2>, 4>;

template <class Address>
std::array<Registers, kLanes> load_matrices(const std::uint16_t* stage, const Address& chunk) {
  std::array<Registers, kLanes> result{};
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int matrix = 0; matrix < 4; ++matrix) {
      const int giver = matrix * 8 + lane / 4;  // that lane's address is row lane / 4
      const std::uint16_t* row = stage + stage_offset(chunk(giver));
      result[lane][matrix] = {row[lane % 4 * 2], row[lane % 4 * 2 + 1]};
    }
  }
  return result;
}

struct Warp {
  float image[kLanes][kRowFragments][kColumnFragments][kRegisters] = {};
  float text[kLanes][kRowFragments][kColumnFragments][kRegisters] = {};
};

// D = A B + C for one m16n8k16: fragments are put together as matrices, multiplied, and taken
// apart.
template <class Sums>
void multiply_fragments(Sums& sums, int i, int j, const std::array<Registers, kLanes>& rows,
                        const std::array<Registers, kLanes>& columns, int half,
                        std::int32_t format) {
  float a[16][16];
  float b[16][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int e = 0; e < 2; ++e) {
      for (int reg = 0; reg < 4; ++reg) {
        a[lane / 4 + reg % 2 * 8][lane % 4 * 2 + e + reg / 2 * 8] =
            widen(rows[lane][reg][e], format);
      }
      for (int reg = 0; reg < 2; ++reg) {
        b[lane % 4 * 2 + e + reg * 8][lane / 4] = widen(columns[lane][half * 2 + reg][e], format);
      }
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int reg = 0; reg < kRegisters; ++reg) {
      const int row = lane / 4 + reg / 2 * 8;
      const int column = lane % 4 * 2 + reg % 2;
      float sum = sums[lane][i][j][reg];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      sums[lane][i][j][reg] = sum;
    }
  }
}

void copy_slice(const HelipProductModality& modality, const HelipProductFilter& filter, Tile tile,
                std::int64_t slice, std::uint16_t* stage) {
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int copy = 0; copy < kCopies; ++copy) {
      const Chunk at = chunk_of(thread, copy);
      const bool is_row = at.line < kTileRows;
      const std::int64_t line = is_row ? tile.row + at.line : tile.column + at.line - kTileRows;
      const std::int64_t depth = slice * kDepth + at.chunk * kChunk;
      const bool wanted = line < (is_row ? filter.rows : filter.columns) && depth < modality.depth;
      const auto* lines =
          static_cast<const std::uint16_t*>(is_row ? modality.rows : modality.columns);
      const std::int64_t stride = is_row ? modality.row_stride : modality.column_stride;
      for (int e = 0; e < kChunk; ++e) {
        stage[stage_offset(at) + e] = wanted ? lines[line * stride + depth + e] : std::uint16_t{0};
      }
    }
  }
}

template <class Sums>
void multiply_slice(const std::uint16_t* stage, int warp, Sums& sums, std::int32_t format) {
  for (int step = 0; step < kSteps; ++step) {
    for (int i = 0; i < kRowFragments; ++i) {
      const auto rows =
          load_matrices(stage, [&](int lane) { return row_chunk(warp, lane, i, step); });
      for (int j = 0; j < kColumnFragments / 2; ++j) {
        const auto columns =
            load_matrices(stage, [&](int lane) { return column_chunk(warp, lane, j, step); });
        for (int half = 0; half < 2; ++half) {
          multiply_fragments(sums, i, j * 2 + half, rows, columns, half, format);
        }
      }
    }
  }
}

float margin(const float* margins, std::int64_t line) {
  return margins == nullptr ? 0.0F : margins[line];
}

void append(const HelipProductFilter& filter, std::int64_t row, std::int64_t column, float image,
            float text) {
  const Similarity by_image{
      image, margin(filter.image.row_margins, row) + margin(filter.image.column_margins, column)};
  const Similarity by_text{
      text, margin(filter.text.row_margins, row) + margin(filter.text.column_margins, column)};
  if (!survives(filter.rules, by_image, by_text, filter.row_thresholds[row],
                filter.column_thresholds[column])) {
    return;
  }
  const auto place = static_cast<std::int64_t>((*filter.count)++);
  if (place >= filter.capacity) return;
  filter.survivor_rows[place] = static_cast<std::int32_t>(row);
  filter.survivor_columns[place] = static_cast<std::int32_t>(column);
  filter.survivor_upper[place] = upper_bound(filter.rules, by_image, by_text);
  filter.survivor_lower[place] = lower_bound(filter.rules, by_image, by_text);
}

void append_survivors(const HelipProductFilter& filter, Tile tile, int number, const Warp& warp) {
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < kRowFragments; ++i) {
      for (int j = 0; j < kColumnFragments; ++j) {
        for (int reg = 0; reg < kRegisters; ++reg) {
          const std::int64_t row = tile.row + pair_row(number, lane, i, reg);
          const std::int64_t column = tile.column + pair_column(number, lane, j, reg);
          if (row >= filter.rows || column >= filter.columns) continue;
          if (column <= row + filter.after) continue;
          append(filter, row, column, warp.image[lane][i][j][reg], warp.text[lane][i][j][reg]);
        }
      }
    }
  }
}

}  // namespace

void emulate_product_filter(const HelipProductFilter& filter) {
  const std::int64_t image_slices = slices_of(filter.image.depth);
  const std::int64_t slices = image_slices + slices_of(filter.text.depth);
  std::vector<std::uint16_t> stage(kStageSize);
  for (std::int64_t index = 0; index < tiles_of(filter.rows, filter.columns); ++index) {
    const Tile tile = tile_of(index, filter.rows, filter.columns);
    if (!has_pairs(tile, filter.after)) continue;
    std::vector<Warp> warps(kWarps);
    for (std::int64_t slice = 0; slice < slices; ++slice) {
      const bool is_image = slice < image_slices;
      copy_slice(is_image ? filter.image : filter.text, filter, tile,
                 is_image ? slice : slice - image_slices, stage.data());
      for (int warp = 0; warp < kWarps; ++warp) {
        Warp& own = warps[static_cast<std::size_t>(warp)];
        multiply_slice(stage.data(), warp, is_image ? own.image : own.text, filter.format);
      }
    }
    for (int warp = 0; warp < kWarps; ++warp) {
      append_survivors(filter, tile, warp, warps[static_cast<std::size_t>(warp)]);
    }
  }
}

}  // namespace helip
