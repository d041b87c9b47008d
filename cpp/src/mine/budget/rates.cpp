#include "mine/budget/rates.h"

#include <time.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/aligned.h"

namespace helip::mining {
namespace {

constexpr double kMeasureSeconds = 0.04;
constexpr std::int64_t kMeasuredDepth = 256;

// Processor time, so that what else the machine does meanwhile does not count.
double thread_seconds() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <typename Body>
double seconds_per_call(const Body& body) {
  body();
  const double start = thread_seconds();
  std::int64_t calls = 0;
  double seconds = 0.0;
  do {
    body();
    ++calls;
    seconds = thread_seconds() - start;
  } while (seconds < kMeasureSeconds);
  return seconds / static_cast<double>(calls);
}

// A chain of instructions of which each waits for the one before, and takes a cycle.
double seconds_of_a_cycle() {
  constexpr int kLength = 1 << 14;
  volatile std::uint32_t start = 1;
  volatile std::uint32_t sink = 0;
  return seconds_per_call([&] {
           std::uint32_t value = start;
           for (int i = 0; i < kLength; ++i) {
             value ^= value << 13;
             value ^= value >> 17;
             value ^= value << 5;
           }
           sink = value;
         }) /
         (6.0 * kLength);
}

}  // namespace

Rates measure_rates(const Corpus& corpus) {
  const Kernel& kernel = corpus.kernel();
  const auto rows = allocate_aligned<std::uint8_t>(row_panel_bytes(kMeasuredDepth));
  const auto columns = allocate_aligned<std::int8_t>(column_panel_bytes(kMeasuredDepth));
  std::fill_n(rows.get(), row_panel_bytes(kMeasuredDepth), std::uint8_t{1});
  std::fill_n(columns.get(), column_panel_bytes(kMeasuredDepth), std::int8_t{1});
  alignas(64) std::int32_t products[kTileRows * kTileColumns];
  Rates rates;
  rates.cycle = seconds_of_a_cycle();
  rates.codes = seconds_per_call([&] {
                  for (int i = 0; i < 64; ++i) {
                    kernel.code_products(rows.get(), columns.get(), kMeasuredDepth, products);
                  }
                }) /
                (64.0 * kTileRows * kTileColumns * static_cast<double>(kMeasuredDepth) / 64.0);

  const std::int64_t dimensions = corpus.image_dimensions() + corpus.text_dimensions();
  const std::vector<float> values(static_cast<std::size_t>(dimensions), 0.01F);
  volatile double sink = 0.0;
  rates.exact = seconds_per_call([&] {
                  for (int i = 0; i < 64; ++i) {
                    sink =
                        sink + corpus.kernel().dot_float(values.data(), values.data(), dimensions);
                  }
                }) /
                64.0;
  // Rows come from memory: at least the time to fetch one.
  rates.exact = std::max(rates.exact, static_cast<double>(dimensions) * 4.0 / kMemoryRate);
  return rates;
}

}  // namespace helip::mining
