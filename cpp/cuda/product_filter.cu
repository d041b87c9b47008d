// The filter kernel: both products of a tile on tensor cores, bounds and comparisons in registers,
// survivors to global memory. The plain CUDA runtime only; compute capability 8.0 or newer.
//
// Slices of rows and columns travel to shared memory by cp.async, kStages deep, image first and
// text behind it without a gap; both accumulators stay in registers (128 a thread), so the scores
// of a tile never leave the multiprocessor.
#include "product_filter.h"

#include <cuda_runtime.h>

#include <cstdint>

#include "product_tile.h"

namespace helip::product {
namespace {

using Accumulators = float[kRowFragments][kColumnFragments][kRegisters];

__device__ unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// 16 bytes to shared memory; zeros when `wanted` is false, and then nothing is read.
__device__ void copy_chunk(unsigned to, const std::uint16_t* from, bool wanted) {
  const int bytes = wanted ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes)
               : "memory");
}
__device__ void close_group() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
template <int kPending>
__device__ void wait_for_groups() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

__device__ void load_matrices(unsigned address, unsigned (&registers)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(address)
               : "memory");
}

template <HelipProductFormat format>
__device__ void multiply_fragments(float (&sum)[kRegisters], const unsigned (&rows)[4],
                                   unsigned column_low, unsigned column_high) {
  if constexpr (format == kHelipBfloat16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(column_low),
          "r"(column_high));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(column_low),
          "r"(column_high));
  }
}

// Starts the copy of one slice of one modality into a stage.
__device__ void copy_slice(const HelipProductModality& modality, const HelipProductFilter& filter,
                           Tile tile, std::int64_t slice, std::uint16_t* stage) {
  const auto* rows = static_cast<const std::uint16_t*>(modality.rows);
  const auto* columns = static_cast<const std::uint16_t*>(modality.columns);
#pragma unroll
  for (int copy = 0; copy < kCopies; ++copy) {
    const Chunk at = chunk_of(static_cast<int>(threadIdx.x), copy);
    const bool is_row = at.line < kTileRows;
    const std::int64_t line = is_row ? tile.row + at.line : tile.column + at.line - kTileRows;
    const std::int64_t depth = slice * kDepth + at.chunk * kChunk;
    const bool wanted = line < (is_row ? filter.rows : filter.columns) && depth < modality.depth;
    const std::uint16_t* from = is_row ? rows + line * modality.row_stride + depth
                                       : columns + line * modality.column_stride + depth;
    copy_chunk(shared_address(stage + stage_offset(at)), wanted ? from : rows, wanted);
  }
}

// Adds the products of the slice in a stage.
template <HelipProductFormat format>
__device__ void multiply_slice(const std::uint16_t* stage, int warp, int lane, Accumulators& sums) {
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    unsigned rows[kRowFragments][4];
    unsigned columns[kColumnFragments / 2][4];
#pragma unroll
    for (int i = 0; i < kRowFragments; ++i) {
      load_matrices(shared_address(stage + stage_offset(row_chunk(warp, lane, i, step))), rows[i]);
    }
#pragma unroll
    for (int j = 0; j < kColumnFragments / 2; ++j) {
      load_matrices(shared_address(stage + stage_offset(column_chunk(warp, lane, j, step))),
                    columns[j]);
    }
#pragma unroll
    for (int i = 0; i < kRowFragments; ++i) {
#pragma unroll
      for (int j = 0; j < kColumnFragments; ++j) {
        multiply_fragments<format>(sums[i][j], rows[i], columns[j / 2][j % 2 * 2],
                                   columns[j / 2][j % 2 * 2 + 1]);
      }
    }
  }
}

// What the decision needs to know of a row or of a column.
struct Line {
  float image_margin, text_margin, threshold;
};

// A line beyond the edge of the block is left out, as one without a margin is.
__device__ Line row_line(const HelipProductFilter& filter, std::int64_t row) {
  if (row >= filter.rows) return {__int_as_float(0x7fffffff), __int_as_float(0x7fffffff), 0.0F};
  return {filter.image.depth == 0 ? 0.0F : filter.image.row_margins[row],
          filter.text.depth == 0 ? 0.0F : filter.text.row_margins[row], filter.row_thresholds[row]};
}
__device__ Line column_line(const HelipProductFilter& filter, std::int64_t column) {
  if (column >= filter.columns) {
    return {__int_as_float(0x7fffffff), __int_as_float(0x7fffffff), 0.0F};
  }
  return {filter.image.depth == 0 ? 0.0F : filter.image.column_margins[column],
          filter.text.depth == 0 ? 0.0F : filter.text.column_margins[column],
          filter.column_thresholds[column]};
}

// Calls visit(bit, row, column, row line, column line, image sum, text sum) for the pairs of a
// lane; `bit` numbers them.
template <class Visit>
__device__ void for_each_pair(const HelipProductFilter& filter, Tile tile, int warp, int lane,
                              const Accumulators& image, const Accumulators& text,
                              const Visit& visit) {
  Line columns[kColumnFragments][2];
#pragma unroll
  for (int j = 0; j < kColumnFragments; ++j) {
#pragma unroll
    for (int right = 0; right < 2; ++right) {
      columns[j][right] = column_line(filter, tile.column + pair_column(warp, lane, j, right));
    }
  }
  int bit = 0;
#pragma unroll
  for (int i = 0; i < kRowFragments; ++i) {
#pragma unroll
    for (int below = 0; below < 2; ++below) {
      const std::int64_t row = tile.row + pair_row(warp, lane, i, below * 2);
      const Line of_row = row_line(filter, row);
#pragma unroll
      for (int j = 0; j < kColumnFragments; ++j) {
#pragma unroll
        for (int right = 0; right < 2; ++right) {
          const int reg = below * 2 + right;
          visit(bit++, row, tile.column + pair_column(warp, lane, j, reg), of_row,
                columns[j][right], image[i][j][reg], text[i][j][reg]);
        }
      }
    }
  }
}

__device__ Similarity similarity(float value, float row_margin, float column_margin) {
  return {value, row_margin + column_margin};
}

// Appends what survives of a tile: one atomic operation a warp, none where nothing survives.
__device__ void append_survivors(const HelipProductFilter& filter, Tile tile, int warp, int lane,
                                 const Accumulators& image, const Accumulators& text) {
  static_assert(kRowFragments * kColumnFragments * kRegisters <= 64, "one bit a pair");
  unsigned long long mask = 0;
  for_each_pair(
      filter, tile, warp, lane, image, text,
      [&](int bit, std::int64_t row, std::int64_t column, Line of_row, Line of_column, float s,
          float t) {
        const Similarity by_image = similarity(s, of_row.image_margin, of_column.image_margin);
        const Similarity by_text = similarity(t, of_row.text_margin, of_column.text_margin);
        if (column > row + filter.after &&
            survives(filter.rules, by_image, by_text, of_row.threshold, of_column.threshold)) {
          mask |= 1ULL << bit;
        }
      });
  constexpr unsigned kEveryLane = 0xffffffffU;
  if (__any_sync(kEveryLane, mask != 0) == 0) return;

  const int own = __popcll(mask);
  int before = own;  // inclusive sum over lanes
#pragma unroll
  for (int distance = 1; distance < kLanes; distance *= 2) {
    const int other = __shfl_up_sync(kEveryLane, before, distance);
    if (lane >= distance) before += other;
  }
  unsigned long long base = 0;
  if (lane == kLanes - 1) base = atomicAdd(filter.count, static_cast<unsigned long long>(before));
  base = __shfl_sync(kEveryLane, base, kLanes - 1);
  if (own == 0) return;

  std::int64_t place = static_cast<std::int64_t>(base) + before - own;
  for_each_pair(
      filter, tile, warp, lane, image, text,
      [&](int bit, std::int64_t row, std::int64_t column, Line of_row, Line of_column, float s,
          float t) {
        if ((mask >> bit & 1) == 0) return;
        if (place < filter.capacity) {
          const Similarity by_image = similarity(s, of_row.image_margin, of_column.image_margin);
          const Similarity by_text = similarity(t, of_row.text_margin, of_column.text_margin);
          filter.survivor_rows[place] = static_cast<std::int32_t>(row);
          filter.survivor_columns[place] = static_cast<std::int32_t>(column);
          filter.survivor_upper[place] = upper_bound(filter.rules, by_image, by_text);
          filter.survivor_lower[place] = lower_bound(filter.rules, by_image, by_text);
        }
        ++place;
      });
}

template <HelipProductFormat format>
__global__ void __launch_bounds__(kThreads, 1) filter_tiles(const HelipProductFilter filter) {
  extern __shared__ __align__(16) std::uint16_t stages[];
  const Tile tile = tile_of(blockIdx.x, filter.rows, filter.columns);
  if (!has_pairs(tile, filter.after)) return;

  const int warp = static_cast<int>(threadIdx.x) / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  const std::int64_t image_slices = slices_of(filter.image.depth);
  const std::int64_t slices = image_slices + slices_of(filter.text.depth);
  Accumulators image = {};
  Accumulators text = {};

  const auto copy = [&](std::int64_t slice) {
    if (slice < slices) {
      const bool is_image = slice < image_slices;
      copy_slice(is_image ? filter.image : filter.text, filter, tile,
                 is_image ? slice : slice - image_slices, stages + slice % kStages * kStageSize);
    }
    close_group();  // an empty group keeps the count of those in flight
  };
  const auto advance = [&](std::int64_t slice, Accumulators& sums) {
    wait_for_groups<kStages - 2>();
    __syncthreads();  // the slice has come, and its predecessor has been used by every warp
    copy(slice + kStages - 1);
    multiply_slice<format>(stages + slice % kStages * kStageSize, warp, lane, sums);
  };

  for (int slice = 0; slice < kStages - 1; ++slice) copy(slice);
  for (std::int64_t slice = 0; slice < image_slices; ++slice) advance(slice, image);
  for (std::int64_t slice = image_slices; slice < slices; ++slice) advance(slice, text);
  append_survivors(filter, tile, warp, lane, image, text);
}

template <HelipProductFormat format>
cudaError_t launch(const HelipProductFilter& filter, cudaStream_t stream) {
  const cudaError_t error = cudaFuncSetAttribute(
      filter_tiles<format>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (error != cudaSuccess) return error;
  const auto tiles = static_cast<unsigned>(tiles_of(filter.rows, filter.columns));
  filter_tiles<format><<<tiles, kThreads, kSharedBytes, stream>>>(filter);
  return cudaGetLastError();
}

}  // namespace
}  // namespace helip::product

extern "C" {

__attribute__((visibility("default"))) int helip_cuda_version(void) {
  return HELIP_PRODUCT_FILTER_VERSION;
}

__attribute__((visibility("default"))) int helip_cuda_product_filter(
    const HelipProductFilter* filter, void* stream) {
  if (filter->rows <= 0 || filter->columns <= 0) return cudaSuccess;
  if (helip::product::tiles_of(filter->rows, filter->columns) > 0x7fffffff) {
    return cudaErrorInvalidValue;
  }
  const auto queue = static_cast<cudaStream_t>(stream);
  if (filter->format == kHelipBfloat16) {
    return helip::product::launch<kHelipBfloat16>(*filter, queue);
  }
  return helip::product::launch<kHelipFloat16>(*filter, queue);
}

__attribute__((visibility("default"))) const char* helip_cuda_error(int error) {
  return cudaGetErrorString(static_cast<cudaError_t>(error));
}

}  // extern "C"
