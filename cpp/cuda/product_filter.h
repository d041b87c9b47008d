// The filter of exact mining as one call with a C interface: no score matrix, survivors only.
//
// Two libraries implement it: libhelip_cuda (product_filter.cu, tensor cores, device pointers) and
// the emulation of that kernel on the host (product_filter_host.cpp, host pointers), on which its
// indices and its arithmetic are tested.
//
// For each pair of row i and column j of a block with j > i + after:
//   ŝ of each modality is the product of two 16-bit rows, accumulated in float32;
//   its bounds and whether it survives are decided by product_bound.h;
//   a survivor is appended to four arrays, in no particular order.
// *count is raised by the number of survivors, also of those beyond `capacity`, which are not
// written: whoever finds count > capacity must discard the call and ask for a smaller block.
#pragma once

#include <cstdint>

#include "product_bound.h"

#define HELIP_PRODUCT_FILTER_VERSION 1

extern "C" {

enum HelipProductFormat { kHelipBfloat16 = 0, kHelipFloat16 = 1 };

// depth 0: the modality takes no part. Rows lie `*_stride` numbers apart; the pointers must be
// divisible by 16 bytes, depth and strides by 8 numbers.
struct HelipProductModality {
  const void* rows;             // [rows, depth], 16-bit
  const void* columns;          // [columns, depth], 16-bit
  const float* row_margins;     // [rows]
  const float* column_margins;  // [columns]
  std::int64_t depth;
  std::int64_t row_stride;
  std::int64_t column_stride;
};

struct HelipProductFilter {
  HelipProductModality image;
  HelipProductModality text;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t after;              // pairs with j > i + after; -rows for all of them
  const float* row_thresholds;     // [rows]
  const float* column_thresholds;  // [columns]
  helip::product::Rules rules;
  std::int32_t format;  // HelipProductFormat
  std::int64_t capacity;
  std::int32_t* survivor_rows;     // [capacity], within the block
  std::int32_t* survivor_columns;  // [capacity]
  float* survivor_upper;           // [capacity]
  float* survivor_lower;           // [capacity]
  unsigned long long* count;       // not set to zero here
};

// HELIP_PRODUCT_FILTER_VERSION of the library.
int helip_cuda_version(void);

// Queues the work on `stream` (a cudaStream_t) of the current device and does not wait. Returns a
// cudaError_t.
int helip_cuda_product_filter(const HelipProductFilter* filter, void* stream);

// The name of such an error.
const char* helip_cuda_error(int error);

}  // extern "C"

namespace helip {

// The same on the host, thread by thread, for tests: slow.
void emulate_product_filter(const HelipProductFilter& filter);

}  // namespace helip
