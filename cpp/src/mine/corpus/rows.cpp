#include "mine/corpus/rows.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "helip/error.h"
#include "io/mapped_files.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kGrain = 1024;

bool is_aligned(const MatrixView& view) {
  const auto address = reinterpret_cast<std::uintptr_t>(view.data);
  const auto size = static_cast<std::uintptr_t>(size_of(view.dtype));
  return address % size == 0 && static_cast<std::uintptr_t>(view.row_stride) % size == 0;
}

}  // namespace

Rows::Segment::Segment(std::string name_, const MatrixView& view_)
    : name(std::move(name_)),
      view(view_),
      scale(view_.scale),
      deleted(view_.deleted),
      direct(view_.dtype == DType::float32 && is_aligned(view_)) {
  view.scale = nullptr;
}

Rows::Rows(const std::string& name, const MatrixView& view, const Kernel& kernel)
    : Rows(name, view, name, MatrixView(), kernel) {}

Rows::Rows(const std::string& first_name, const MatrixView& first, const std::string& second_name,
           const MatrixView& second, const Kernel& kernel)
    : first_(first_name, first), second_(second_name, second), kernel_(kernel) {}

void Rows::require_whole() const {
  helip::require_whole(first_.view.data);
  helip::require_whole(second_.view.data);
}

void Rows::measure(Team& team, std::vector<double> known) {
  std::vector<double> length = std::move(known);
  length.resize(static_cast<std::size_t>(size()), kUnknownLength);
  std::atomic<std::int64_t> first_bad{std::numeric_limits<std::int64_t>::max()};
  team.for_blocks(size(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    LoadedRow buffer;
    for (std::int64_t row = begin; row < end && row < first_bad.load(); ++row) {
      if (!std::isnan(length[static_cast<std::size_t>(row)])) continue;
      const double value = compute_length(row, buffer);
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
  const std::string& name = of(row).name;
  throw Error(ErrorCode::invalid_argument,
              name + " embedding of row " + std::to_string(row) +
                  " holds a NaN or an infinity; embed that sample again or store a zero row");
}

void Rows::load_wide(std::int64_t row, double* out) const {
  const MatrixView& view = of(row).view;
  read_row(view, row, out);
  if (view.dtype != DType::float64) return;
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

// `single` or `wide`, whichever these rows have.
void Rows::load_values(std::int64_t row, LoadedRow& out) const {
  const std::int64_t whole = row;
  const Segment& segment = of(row);
  if (segment.view.dtype == DType::float64) {
    out.single = nullptr;
    out.wide.resize(static_cast<std::size_t>(dimensions()));
    load_wide(whole, out.wide.data());
  } else if (segment.direct) {
    out.single = static_cast<const float*>(segment.view.row(row));
  } else {
    out.converted.resize(static_cast<std::size_t>(dimensions()));
    read_row(segment.view, row, out.converted.data());
    out.single = out.converted.data();
  }
}

// Of values that were loaded.
double Rows::compute_length(std::int64_t row, LoadedRow& buffer) const {
  const std::int64_t whole = row;
  const Segment& segment = of(row);
  if (segment.is_deleted(row)) return 0.0;
  load_values(whole, buffer);
  const double length =
      std::sqrt(buffer.single == nullptr
                    ? kernel_.dot_double(buffer.wide.data(), buffer.wide.data(), dimensions())
                    : kernel_.dot_float(buffer.single, buffer.single, dimensions()));
  if (segment.scale == nullptr || segment.view.dtype != DType::int8) return length;
  const float scale = segment.scale[row];
  if (!std::isfinite(scale)) return std::numeric_limits<double>::quiet_NaN();
  if (scale == 0.0F) return 0.0;
  return scale < 0.0F ? -length : length;
}

// Loads the values, unless the row is deleted.
double Rows::checked_length(std::int64_t row, LoadedRow& buffer) const {
  const double value = compute_length(row, buffer);
  if (!std::isfinite(value)) refuse(row);
  return value;
}

double Rows::length(std::int64_t row) const {
  if (!length_.empty()) return length_[static_cast<std::size_t>(row)];
  LoadedRow buffer;
  return checked_length(row, buffer);
}

void Rows::load(std::int64_t row, LoadedRow& out) const {
  out.row = row;
  out.uses = 0;
  if (length_.empty()) {
    out.length = checked_length(row, out);
    std::int64_t place = row;
    if (!of(place).is_deleted(place)) return;
  } else {
    out.length = length_[static_cast<std::size_t>(row)];
  }
  load_values(row, out);
}

double Rows::dot(LoadedRow& loaded, LoadedRow& other) const {
  const std::int64_t count = dimensions();
  const auto widen = [count](LoadedRow& row) {
    if (row.single != nullptr) row.wide.assign(row.single, row.single + count);
  };
  if (loaded.single == nullptr || other.single == nullptr) {
    widen(loaded);
    widen(other);
    return kernel_.dot_double(loaded.wide.data(), other.wide.data(), count);
  }
  // Widening costs about what it saves in one product.
  if (++loaded.uses == 2) widen(loaded);
  return loaded.uses >= 2 ? kernel_.dot_mixed(loaded.wide.data(), other.single, count)
                          : kernel_.dot_float(loaded.single, other.single, count);
}

double Rows::cosine(LoadedRow& loaded, std::int64_t row, LoadedRow& other) const {
  if (loaded.length == 0.0) return 0.0;
  load(row, other);
  return cosine(loaded, other);
}

double Rows::cosine(LoadedRow& loaded, LoadedRow& other) const {
  if (loaded.length == 0.0) return 0.0;
  return other.length == 0.0 ? 0.0 : cosine_of(dot(loaded, other), loaded.length * other.length);
}

void Rows::unit(std::int64_t row, float* out, LoadedRow& buffer) const {
  load(row, buffer);
  if (buffer.length == 0.0) {
    std::fill_n(out, dimensions(), 0.0F);
  } else if (buffer.single == nullptr) {
    for (std::int64_t i = 0; i < dimensions(); ++i) {
      out[i] = static_cast<float>(buffer.wide[static_cast<std::size_t>(i)] / buffer.length);
    }
  } else {
    kernel_.scale(buffer.single, dimensions(), 1.0 / buffer.length, out);
  }
}

}  // namespace helip::mining
