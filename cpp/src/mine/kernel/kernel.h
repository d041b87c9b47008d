// Inner loops, one build for each instruction set, chosen when mining starts.
//
// Float64 dot products use fixed lanes and give the same bits everywhere. Products of codes are
// exact integers. Float32 products may differ in the last bits between kernels: they only steer
// the filters, whose bounds allow for it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace helip::mining {

inline constexpr int kTileRows = 12;     // rows of a micro-tile
inline constexpr int kTileColumns = 32;  // columns of a micro-tile: bits of a mask

// Codes are grouped in fours, what one 32-bit lane multiplies at a time, and in chunks, after
// which narrow accumulators are widened.
inline constexpr std::int64_t kCodeGroup = 4;
inline constexpr std::int64_t kCodeChunk = 256;
// Codes that gather_products() reads are padded with zeros to a multiple of this.
inline constexpr std::int64_t kCodeAlign = 64;

// Bytes of a panel of kTileRows or kTileColumns vectors of `depth` codes, a multiple of kCodeGroup.
// Row panel: [depth / 4][kTileRows][4] unsigned codes. Column panel: for each chunk a line of
// kTileColumns 32-bit corrections, then [chunk / 4][kTileColumns][4] signed codes.
constexpr std::int64_t row_panel_bytes(std::int64_t depth) { return depth * kTileRows; }
constexpr std::int64_t column_panel_bytes(std::int64_t depth) {
  return (depth + (depth + kCodeChunk - 1) / kCodeChunk * 4) * kTileColumns;
}

// What the tile products of a kernel can hold.
struct CodeLimits {
  int largest = 0;          // |code| <= largest
  double chunk_norm = 0.0;  // Euclidean norm of the codes of a chunk; 0: not limited
  int gather_offset = 0;    // gather_products() gives the product plus this, times the column's sum

  // The product of codes from what gather_products() gave. Unsigned, since with the offset it may
  // have passed through an overflow.
  std::int32_t exact_product(std::int32_t gathered, std::int32_t column_sum) const noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(gathered) -
                                     static_cast<std::uint32_t>(gather_offset) *
                                         static_cast<std::uint32_t>(column_sum));
  }
};

// Products of one tile of codes, and what they are held against.
struct Prefilter {
  struct Side {
    const float* offset;  // each of these [kTileRows] or [kTileColumns]
    const float* tail;
    const float* threshold;
  };
  const std::int32_t* products;  // [kTileRows * kTileColumns]
  Side rows, columns;
  bool absolute;  // the absolute value of product and offsets counts
};

struct Kernel {
  const char* name = "";
  CodeLimits limits = {};

  // tile[r * kTileColumns + c] = sum over k of row r's code k * column c's code k. The panels come
  // from pack_row_codes() and pack_column_codes(); all are 64-byte aligned.
  void (*code_products)(const std::uint8_t* rows, const std::int8_t* columns, std::int64_t depth,
                        std::int32_t* tile) = nullptr;
  void (*pack_row_codes)(const std::int8_t* const* codes, std::int64_t depth,
                         std::uint8_t* panel) = nullptr;
  void (*pack_column_codes)(const std::int8_t* const* codes, std::int64_t depth,
                            std::int8_t* panel) = nullptr;
  // Bit c of hits[r]: product + offsets + product of the tails reaches the lower of both
  // thresholds.
  void (*prefilter)(const Prefilter& job, std::uint32_t* hits) = nullptr;
  // out[i] = sum over k of row[k] * columns[i][k], see gather_offset; `depth` a multiple of
  // kCodeAlign, everything 64-byte aligned.
  void (*gather_products)(const std::int8_t* row, const std::int8_t* const* columns,
                          std::int64_t count, std::int64_t depth, std::int32_t* out) = nullptr;

  // The same for fine codes, 4 bits each: out[i] = sum over k of row[k] * (columns[i]'s nibble k −
  // 8). Nibbles of 128 dimensions lie in 64 bytes, the first 64 of them in the low halves. `depth`
  // a multiple of 128.
  void (*gather_fine)(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                      std::int64_t depth, std::int32_t* out) = nullptr;

  // codes[i] = x[i] / scale, rounded, within ±largest. Returns |x − scale · codes|², sums in
  // float32.
  float (*round_codes)(const float* x, std::int64_t n, float scale, int largest,
                       std::int8_t* codes) = nullptr;
  // |x − scale · codes|² for codes that were changed since.
  float (*missed)(const float* x, std::int64_t n, float scale, const std::int8_t* codes) = nullptr;
  std::int32_t (*sum_codes)(const std::int8_t* codes, std::int64_t n) = nullptr;
  float (*largest)(const float* x, std::int64_t n) = nullptr;  // of the absolute values
  float (*squared_length)(const float* x,
                          std::int64_t n) = nullptr;  // summed in float32, in 32 lanes
  // An orthonormal transform (Walsh-Hadamard after signs) of each 64 values n / 64 apart, in place;
  // n a multiple of 64.
  void (*spread)(float* x, std::int64_t n) = nullptr;

  // tile[r * kTileColumns + c] = sum over k of rows[k * kTileRows + r] * columns[k * kTileColumns
  // + c], one k after the other; `columns` and `tile` are 64-byte aligned.
  void (*products)(const float* rows, const float* columns, std::int64_t depth,
                   float* tile) = nullptr;
  double (*dot_float)(const float* a, const float* b, std::int64_t n) = nullptr;  // in float64
  double (*dot_mixed)(const double* a, const float* b,
                      std::int64_t n) = nullptr;  // a: widened float32
  double (*dot_double)(const double* a, const double* b, std::int64_t n) = nullptr;
  // Float32 dot product in a fixed order.
  float (*dot_short)(const float* a, const float* b, std::int64_t n) = nullptr;
  // out[i] = float(in[i] * factor), the product in float64.
  void (*scale)(const float* in, std::int64_t n, double factor, float* out) = nullptr;
  // out[k * lanes + r] = in[r * n + k]; `lanes` is kTileRows or kTileColumns.
  void (*interleave)(const float* in, std::int64_t n, int lanes, float* out) = nullptr;
};

// nullptr where the build or the processor lacks the instructions.
const Kernel* kernel_avx512vnni();
const Kernel* kernel_avx2();
const Kernel* kernel_neon();
const Kernel* kernel_portable();

// The kernels that can run here, fastest first.
std::vector<const Kernel*> available_kernels();
// The one that helip/kernel.h selects. Throws as kernel_name() does.
const Kernel& select_kernel();

}  // namespace helip::mining
