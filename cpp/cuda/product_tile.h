// Where everything lies in the filter kernel: which tile a block works on, which bytes a thread
// copies, which ones a lane hands to the tensor cores, and which pair each register then holds.
//
// Plain index functions, shared by the kernel and its emulation on the host, which the tests
// compare with a plain loop. Layouts of the fragments: PTX ISA, "Matrix fragments for mma.m16n8k16"
// and "ldmatrix".
#pragma once

#include <cstdint>

#include "product_bound.h"

namespace helip::product {

// A block of threads scores one tile of pairs; a warp scores its part of it.
constexpr int kTileRows = 128;
constexpr int kTileColumns = 128;
constexpr int kWarpRows = 64;
constexpr int kWarpColumns = 32;
constexpr int kLanes = 32;
constexpr int kWarps = (kTileRows / kWarpRows) * (kTileColumns / kWarpColumns);
constexpr int kThreads = kWarps * kLanes;

// Rows come in slices of kDepth 16-bit numbers, copied in chunks of 16 bytes.
constexpr int kDepth = 64;
constexpr int kChunk = 8;
constexpr int kChunks = kDepth / kChunk;
constexpr int kStages = 3;  // slices in shared memory at a time
constexpr int kStageRows = kTileRows + kTileColumns;
constexpr int kStageSize = kStageRows * kDepth;  // in numbers
constexpr int kSharedBytes = kStages * kStageSize * 2;
constexpr int kCopies = kStageRows * kChunks / kThreads;  // chunks that a thread copies a slice

// mma.m16n8k16: fragments of a warp, registers of a fragment.
constexpr int kRowFragments = kWarpRows / 16;
constexpr int kColumnFragments = kWarpColumns / 8;
constexpr int kRegisters = 4;
constexpr int kSteps = kDepth / 16;

// Tile rows whose columns are walked together, so that their operands stay in the L2 cache.
constexpr int kTileGroup = 16;

struct Tile {
  std::int64_t row, column;  // of its first pair
};

HELIP_HOST_DEVICE std::int64_t tiles_of(std::int64_t rows, std::int64_t columns) {
  return ((rows + kTileRows - 1) / kTileRows) * ((columns + kTileColumns - 1) / kTileColumns);
}

// The tile of block `index` of tiles_of(rows, columns).
HELIP_HOST_DEVICE Tile tile_of(std::int64_t index, std::int64_t rows, std::int64_t columns) {
  const std::int64_t down = (rows + kTileRows - 1) / kTileRows;
  const std::int64_t across = (columns + kTileColumns - 1) / kTileColumns;
  const std::int64_t group = index / (kTileGroup * across);
  const std::int64_t first = group * kTileGroup;
  const std::int64_t height = down - first < kTileGroup ? down - first : kTileGroup;
  const std::int64_t within = index - first * across;
  return {(first + within % height) * kTileRows, (within / height) * kTileColumns};
}

// Whether a tile holds a pair with column > row + after, the pairs that are asked for.
HELIP_HOST_DEVICE bool has_pairs(Tile tile, std::int64_t after) {
  return tile.column + kTileColumns - 1 > tile.row + after;
}

// Slices of a modality of `depth` numbers.
HELIP_HOST_DEVICE std::int64_t slices_of(std::int64_t depth) {
  return (depth + kDepth - 1) / kDepth;
}

// A chunk of a slice: rows of the tile come first, then columns.
struct Chunk {
  int line;   // 0 .. kStageRows - 1
  int chunk;  // 0 .. kChunks - 1
};

HELIP_HOST_DEVICE Chunk chunk_of(int thread, int copy) {
  const int number = copy * kThreads + thread;
  return {number / kChunks, number % kChunks};
}

// Where a chunk lies in its stage, in numbers. The exclusive or spreads the eight rows that
// ldmatrix reads at once over all banks.
HELIP_HOST_DEVICE int stage_offset(Chunk at) {
  return (at.line * kChunks + (at.chunk ^ (at.line % kChunks))) * kChunk;
}

HELIP_HOST_DEVICE int warp_row(int warp) {
  return warp / (kTileColumns / kWarpColumns) * kWarpRows;
}
HELIP_HOST_DEVICE int warp_column(int warp) {
  return warp % (kTileColumns / kWarpColumns) * kWarpColumns;
}

// The chunk whose address a lane gives to ldmatrix.x4 for 16 rows x 16 numbers (fragment A):
// matrices 0 .. 3 are upper left, lower left, upper right, lower right.
HELIP_HOST_DEVICE Chunk row_chunk(int warp, int lane, int fragment, int step) {
  return {warp_row(warp) + fragment * 16 + lane % 16, step * 2 + lane / 16};
}

// The same for 16 columns x 16 numbers, which is two fragments B: matrices 0 and 1 are the halves
// of the first, 2 and 3 those of the second.
HELIP_HOST_DEVICE Chunk column_chunk(int warp, int lane, int two_fragments, int step) {
  return {kTileRows + warp_column(warp) + two_fragments * 16 + lane / 16 * 8 + lane % 8,
          step * 2 + lane / 8 % 2};
}

// The row and the column, within the tile, of the pair in a register of fragment C.
HELIP_HOST_DEVICE int pair_row(int warp, int lane, int row_fragment, int reg) {
  return warp_row(warp) + row_fragment * 16 + lane / 4 + reg / 2 * 8;
}
HELIP_HOST_DEVICE int pair_column(int warp, int lane, int column_fragment, int reg) {
  return warp_column(warp) + column_fragment * 8 + lane % 4 * 2 + reg % 2;
}

}  // namespace helip::product
