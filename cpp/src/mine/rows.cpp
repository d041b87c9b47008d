#include "rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "helip/error.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kGrain = 1024;

bool is_aligned(const MatrixView& view) {
  const auto address = reinterpret_cast<std::uintptr_t>(view.data);
  const auto size = static_cast<std::uintptr_t>(size_of(view.dtype));
  return address % size == 0 && static_cast<std::uintptr_t>(view.row_stride) % size == 0;
}

}  // namespace

Rows::Rows(std::string name, const MatrixView& view, const Kernel& kernel)
    : name_(std::move(name)),
      view_(view),
      scale_(view.scale),
      kernel_(kernel),
      direct_(view.dtype == DType::float32 && is_aligned(view)) {
  view_.scale = nullptr;
}

void Rows::measure(Team& team) {
  std::vector<double> length(static_cast<std::size_t>(size()));
  std::atomic<std::int64_t> first_bad{std::numeric_limits<std::int64_t>::max()};
  team.for_blocks(size(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    Scratch scratch(dimensions());
    for (std::int64_t row = begin; row < end && row < first_bad.load(); ++row) {
      const double value = compute_length(row, scratch);
      if (!std::isfinite(value)) {
        std::int64_t seen = first_bad.load();
        while (row < seen && !first_bad.compare_exchange_weak(seen, row)) {
        }
      }
      length[static_cast<std::size_t>(row)] = value;
    }
    team.add_work(end - begin);
  });
  if (first_bad.load() < size()) refuse(first_bad.load());
  length_ = std::move(length);
}

void Rows::refuse(std::int64_t row) const {
  throw Error(ErrorCode::invalid_argument,
              name_ + " embedding of row " + std::to_string(row) +
                  " holds a NaN or an infinity; embed that sample again or store a zero row");
}

const float* Rows::as_float(std::int64_t row, Scratch& scratch) const {
  if (direct_) return static_cast<const float*>(view_.row(row));
  read_row(view_, row, scratch.single.data());
  return scratch.single.data();
}

void Rows::load_double(std::int64_t row, double* out) const {
  read_row(view_, row, out);
  double largest = 0.0;
  for (std::int64_t i = 0; i < dimensions(); ++i) {
    if (!std::isfinite(out[i])) {
      out[0] = std::numeric_limits<double>::quiet_NaN();
      return;
    }
    largest = std::max(largest, std::abs(out[i]));
  }
  // Far from the ends of the range no product over- or underflows.
  if (largest == 0.0 || (largest > 0x1p-300 && largest < 0x1p300)) return;
  const int exponent = -std::ilogb(largest);
  for (std::int64_t i = 0; i < dimensions(); ++i) out[i] = std::scalbn(out[i], exponent);
}

void Rows::load(std::int64_t row, double* out, Scratch& scratch) const {
  if (view_.dtype == DType::float64) {
    load_double(row, out);
  } else {
    kernel_.widen(as_float(row, scratch), dimensions(), out);
  }
}

double Rows::compute_length(std::int64_t row, Scratch& scratch) const {
  double* values = scratch.wide.data();
  load(row, values, scratch);
  const double length = std::sqrt(kernel_.dot_double(values, values, dimensions()));
  if (scale_ == nullptr || view_.dtype != DType::int8) return length;
  const float scale = scale_[row];
  if (!std::isfinite(scale)) return std::numeric_limits<double>::quiet_NaN();
  if (scale == 0.0F) return 0.0;
  return scale < 0.0F ? -length : length;
}

double Rows::length(std::int64_t row) const {
  if (!length_.empty()) return length_[static_cast<std::size_t>(row)];
  Scratch scratch(dimensions());
  const double value = compute_length(row, scratch);
  if (!std::isfinite(value)) refuse(row);
  return value;
}

double Rows::cosine(const double* loaded, double loaded_length, std::int64_t row,
                    Scratch& scratch) const {
  const double own = length(row);
  if (own == 0.0 || loaded_length == 0.0) return 0.0;
  double dot = 0.0;
  if (view_.dtype == DType::float64) {
    load_double(row, scratch.wide.data());
    dot = kernel_.dot_double(loaded, scratch.wide.data(), dimensions());
  } else {
    dot = kernel_.dot_float(loaded, as_float(row, scratch), dimensions());
  }
  return std::clamp(dot / (loaded_length * own), -1.0, 1.0);
}

void Rows::unit(std::int64_t row, float* out, Scratch& scratch) const {
  const double own = length(row);
  if (own == 0.0) {
    std::fill_n(out, dimensions(), 0.0F);
  } else if (view_.dtype == DType::float64) {
    load_double(row, scratch.wide.data());
    for (std::int64_t i = 0; i < dimensions(); ++i) {
      out[i] = static_cast<float>(scratch.wide[static_cast<std::size_t>(i)] / own);
    }
  } else {
    const float* values = as_float(row, scratch);
    kernel_.scale(values, dimensions(), 1.0 / own, out);
  }
}

}  // namespace helip::mining
