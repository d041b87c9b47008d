// Runs everywhere; on aarch64 the compiler turns it into NEON with fused multiply-add.
#include <cmath>

#include "mine/kernel/kernel.h"
#include "mine/kernel/kernel_loops.h"

namespace helip::mining {
namespace {

struct Scalar {
  static constexpr int kSize = 1;
  float v;
  static Scalar load(const float* p) { return {*p}; }
  static Scalar load_integers(const std::int32_t* p) { return {static_cast<float>(*p)}; }
  static Scalar broadcast(float x) { return {x}; }
  Scalar operator+(Scalar b) const { return {v + b.v}; }
  static Scalar absolute(Scalar a) { return {a.v < 0 ? -a.v : a.v}; }
  static Scalar min(Scalar a, Scalar b) { return {a.v < b.v ? a.v : b.v}; }
  static Scalar multiply_add(Scalar a, Scalar b, Scalar c) { return {a.v * b.v + c.v}; }
  static std::uint32_t reaches(Scalar a, Scalar b) { return a.v >= b.v; }
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

void products(const float* rows, const float* columns, std::int64_t depth, float* tile) {
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

constexpr int kOffset = 128;

void code_products(const std::uint8_t* rows, const std::int8_t* columns, std::int64_t depth,
                   std::int32_t* tile) {
  for (int i = 0; i < kTileRows * kTileColumns; ++i) tile[i] = 0;
  for (std::int64_t begin = 0; begin < depth; begin += kCodeChunk) {
    const std::int64_t end = begin + kCodeChunk < depth ? begin + kCodeChunk : depth;
    std::int32_t corrections[kTileColumns];
    __builtin_memcpy(corrections, columns, sizeof corrections);
    columns += sizeof corrections;
    for (int r = 0; r < kTileRows; ++r) {
      std::int32_t* sums = tile + r * kTileColumns;
      for (int c = 0; c < kTileColumns; ++c) sums[c] += corrections[c];
      for (std::int64_t k = begin; k < end; k += kCodeGroup) {
        const std::uint8_t* row = rows + k * kTileRows + r * kCodeGroup;
        const std::int8_t* column = columns + (k - begin) * kTileColumns;
        for (int c = 0; c < kTileColumns; ++c) {
          const std::int8_t* code = column + c * kCodeGroup;
          sums[c] += row[0] * code[0] + row[1] * code[1] + row[2] * code[2] + row[3] * code[3];
        }
      }
    }
    columns += (end - begin) * kTileColumns;
  }
}

void gather_products(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                     std::int64_t depth, std::int32_t* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int8_t* column = columns[i];
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < depth; ++k) sum += row[k] * column[k];
    out[i] = sum;
  }
}

void gather_fine(const std::int8_t* row, const std::int8_t* const* columns, std::int64_t count,
                 std::int64_t depth, std::int32_t* out) {
  for (std::int64_t i = 0; i < count; ++i) {
    std::int32_t sum = 0;
    for (std::int64_t k = 0; k < depth; k += 128) {
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(columns[i] + k / 2);
      for (int j = 0; j < 64; ++j) {
        sum += row[k + j] * ((bytes[j] & 15) - 8) + row[k + 64 + j] * ((bytes[j] >> 4) - 8);
      }
    }
    out[i] = sum;
  }
}

constexpr Kernel kKernel = with_loops<Scalar>({
    .name = "portable",
    .limits = {127, 0.0, 0},
    .code_products = code_products,
    .pack_row_codes = pack_row_codes<kOffset>,
    .pack_column_codes = pack_column_codes<kOffset, false>,
    .gather_products = gather_products,
    .gather_fine = gather_fine,
    .products = products,
    .dot_float = dot_float,
    .dot_mixed = dot_mixed,
    .dot_double = dot_double,
    .dot_short = dot_short,
});

}  // namespace

const Kernel* kernel_portable() { return &kKernel; }

}  // namespace helip::mining
