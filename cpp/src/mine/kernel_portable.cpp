// Runs everywhere; on aarch64 the compiler turns it into NEON with fused multiply-add.
#include <cmath>

#include "kernel.h"
#include "kernel_loops.h"

namespace helip::mining {
namespace {

struct Scalar {
  static constexpr int kSize = 1;
  float v;
  static Scalar load(const float* p) { return {*p}; }
  static Scalar broadcast(float x) { return {x}; }
  static Scalar max(Scalar a, Scalar b) { return {a.v > b.v ? a.v : b.v}; }
  void store(float* p) const { *p = v; }
  Scalar operator*(Scalar b) const { return {v * b.v}; }
  std::uint32_t above(Scalar b) const { return v > b.v; }
  std::uint32_t below(Scalar b) const { return v < b.v; }
  std::uint32_t at_least(Scalar b) const { return v >= b.v; }
};

inline float multiply_add(float a, float b, float c) {
#ifdef FP_FAST_FMAF
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;  // a call of fmaf for each element would be a hundred times slower
#endif
}

constexpr int kPartRows = 4;
constexpr int kPartColumns = 8;

void similarities(const float* rows, const float* columns, std::int64_t depth, float* tile) {
  for (int c = 0; c < kTileColumns; c += kPartColumns) {
    for (int r = 0; r < kTileRows; r += kPartRows) {
      float sum[kPartRows][kPartColumns] = {};
      for (std::int64_t k = 0; k < depth; ++k) {
        const float* row = rows + k * kTileRows + r;
        const float* column = columns + k * kTileColumns + c;
        for (int i = 0; i < kPartRows; ++i) {
          for (int j = 0; j < kPartColumns; ++j) {
            sum[i][j] = multiply_add(row[i], column[j], sum[i][j]);
          }
        }
      }
      for (int i = 0; i < kPartRows; ++i) {
        for (int j = 0; j < kPartColumns; ++j) tile[(r + i) * kTileColumns + c + j] = sum[i][j];
      }
    }
  }
}

constexpr Kernel kKernel = {"portable", similarities, screen<Scalar>, dot_float, dot_double,
                            dot_short,  widen,        scale,          interleave};

}  // namespace

const Kernel* kernel_portable() { return &kKernel; }

}  // namespace helip::mining
