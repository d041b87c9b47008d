// Inner loops, one build for each instruction set, chosen when mining starts.
//
// The float32 similarities of a tile are accumulated one depth after the other with fused
// multiply-add, so avx512, avx2 and aarch64 builds give the same bits; the float64 and hnsw dot
// products use fixed lanes without fusing and give the same bits everywhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace helip::mining {

inline constexpr int kTileRows = 12;     // targets of a micro-tile
inline constexpr int kTileColumns = 32;  // candidates of a micro-tile: bits of a mask

// Float32 limits that a similarity or a score is held against. "certain" limits are widened by
// the error bound of the similarities, so that what they drop is dropped by float64 as well.
struct ScreenLimits {
  float image_max, text_max;          // above: counted as a near duplicate
  float image_certain, text_certain;  // above: a near duplicate whatever the rounding
  float image_doubt, text_doubt;      // from here on float64 has to decide
  float image_floor, text_floor;      // below: negative whatever the rounding
  float min_score;                    // at or below: counted as too small
  bool signed_products;
};

// Ordered pairs that were scored, and the first filter that dropped them.
struct DropCounts {
  std::int64_t scored = 0;
  std::int64_t image_duplicate = 0;
  std::int64_t text_duplicate = 0;
  std::int64_t nonpositive = 0;
  std::int64_t below_min_score = 0;

  void add(const DropCounts& other, std::int64_t weight) {
    scored += weight * other.scored;
    image_duplicate += weight * other.image_duplicate;
    text_duplicate += weight * other.text_duplicate;
    nonpositive += weight * other.nonpositive;
    below_min_score += weight * other.below_min_score;
  }
};

// One target against kTileColumns candidates.
struct ScreenRow {
  const float* image;             // [kTileColumns] similarities
  const float* text;              // [kTileColumns]
  const float* column_threshold;  // [kTileColumns] of the candidates seen as targets
  float row_threshold;
  std::uint32_t valid;  // columns that exist and are to be scored
};

struct ScreenHits {
  std::uint32_t row;     // score >= row_threshold
  std::uint32_t column;  // score >= column_threshold
  std::uint32_t doubt;   // among those: float64 decides whether it is a duplicate
};

struct Kernel {
  const char* name;
  // tile[r * kTileColumns + c] =
  //     sum over k of rows[k * kTileRows + r] * columns[k * kTileColumns + c];
  // `columns` and `tile` are 64-byte aligned.
  void (*similarities)(const float* rows, const float* columns, std::int64_t depth, float* tile);
  // Writes score[kTileColumns], adds to `counts`.
  ScreenHits (*screen)(const ScreenRow& row, const ScreenLimits& limits, float* score,
                       DropCounts& counts);
  double (*dot_float)(const double* a, const float* b, std::int64_t n);
  double (*dot_double)(const double* a, const double* b, std::int64_t n);
  // Float32 dot product in a fixed order, for distances of a graph.
  float (*dot_short)(const float* a, const float* b, std::int64_t n);
  void (*widen)(const float* in, std::int64_t n, double* out);
  // out[i] = float(in[i] * factor), the product in float64.
  void (*scale)(const float* in, std::int64_t n, double factor, float* out);
  // out[k * lanes + r] = in[r * n + k]; `lanes` is kTileRows or kTileColumns.
  void (*interleave)(const float* in, std::int64_t n, int lanes, float* out);
};

// nullptr where the build or the processor lacks the instructions.
const Kernel* kernel_avx512();
const Kernel* kernel_avx2();
const Kernel* kernel_portable();

// The kernels that can run here, fastest first.
std::vector<const Kernel*> available_kernels();
// The fastest one, or the one that the environment variable HELIP_KERNEL names. Throws
// invalid_argument for an unknown name, unsupported for a kernel that cannot run here.
const Kernel& select_kernel();

}  // namespace helip::mining
