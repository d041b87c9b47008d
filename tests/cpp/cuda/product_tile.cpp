// Where everything lies in the filter kernel: nothing twice, nothing forgotten.
#include "cuda/product_tile.h"

#include <catch2/catch_test_macros.hpp>
#include <set>
#include <utility>

using namespace helip::product;

TEST_CASE("every tile of a block is worked on once", "[product_tile]") {
  for (const std::int64_t rows : {1, 128, 129, 16 * 128, 16 * 128 + 1, 5000}) {
    for (const std::int64_t columns : {1, 128, 300, 4000}) {
      std::set<std::pair<std::int64_t, std::int64_t>> seen;
      for (std::int64_t index = 0; index < tiles_of(rows, columns); ++index) {
        const Tile tile = tile_of(index, rows, columns);
        REQUIRE(tile.row % kTileRows == 0);
        REQUIRE(tile.column % kTileColumns == 0);
        REQUIRE(tile.row < rows);
        REQUIRE(tile.column < columns);
        seen.emplace(tile.row, tile.column);
      }
      REQUIRE(static_cast<std::int64_t>(seen.size()) == tiles_of(rows, columns));
    }
  }
}

TEST_CASE("a tile is left out only when none of its pairs is asked for", "[product_tile]") {
  for (const std::int64_t after : {-300, -1, 0, 1, 127, 128, 500}) {
    for (const std::int64_t row : {0, 128, 256}) {
      for (const std::int64_t column : {0, 128, 256}) {
        const bool wanted = column + kTileColumns - 1 > row + after;  // its upper right corner
        REQUIRE(has_pairs({row, column}, after) == wanted);
      }
    }
  }
}

TEST_CASE("the threads copy every chunk of a slice once, to a place of its own", "[product_tile]") {
  std::set<std::pair<int, int>> chunks;
  std::set<int> places;
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int copy = 0; copy < kCopies; ++copy) {
      const Chunk at = chunk_of(thread, copy);
      REQUIRE(at.line < kStageRows);
      REQUIRE(at.chunk < kChunks);
      chunks.emplace(at.line, at.chunk);
      const int place = stage_offset(at);
      REQUIRE(place % kChunk == 0);
      REQUIRE(place < kStageSize);
      places.insert(place);
    }
  }
  REQUIRE(chunks.size() == static_cast<std::size_t>(kStageRows * kChunks));
  REQUIRE(places.size() == chunks.size());
}

TEST_CASE("the eight addresses that ldmatrix reads at once lie in different banks",
          "[product_tile]") {
  for (int warp = 0; warp < kWarps; ++warp) {
    for (int step = 0; step < kSteps; ++step) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        std::set<int> row_banks;
        std::set<int> column_banks;
        for (int lane = matrix * 8; lane < matrix * 8 + 8; ++lane) {
          row_banks.insert(stage_offset(row_chunk(warp, lane, 1, step)) / kChunk % 8);
          column_banks.insert(stage_offset(column_chunk(warp, lane, 1, step)) / kChunk % 8);
        }
        REQUIRE(row_banks.size() == 8);
        REQUIRE(column_banks.size() == 8);
      }
    }
  }
}

TEST_CASE("every pair of a tile lies in one register of one lane", "[product_tile]") {
  std::set<std::pair<int, int>> pairs;
  int registers = 0;
  for (int warp = 0; warp < kWarps; ++warp) {
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < kRowFragments; ++i) {
        for (int j = 0; j < kColumnFragments; ++j) {
          for (int reg = 0; reg < kRegisters; ++reg) {
            pairs.emplace(pair_row(warp, lane, i, reg), pair_column(warp, lane, j, reg));
            ++registers;
          }
        }
      }
    }
  }
  REQUIRE(registers == kTileRows * kTileColumns);
  REQUIRE(pairs.size() == static_cast<std::size_t>(registers));
  REQUIRE(pairs.rbegin()->first == kTileRows - 1);
}
