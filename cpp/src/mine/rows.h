// The rows of one modality: their lengths, their exact cosines, and float32 unit vectors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "helip/matrix.h"
#include "kernel.h"
#include "team.h"

namespace helip::mining {

// Buffers that a thread brings along, one for each modality.
struct Scratch {
  explicit Scratch(std::int64_t dimensions)
      : single(static_cast<std::size_t>(dimensions)), wide(static_cast<std::size_t>(dimensions)) {}
  std::vector<float> single;
  std::vector<double> wide;
};

// Immutable after measure(); safe to read from many threads. The view must outlive it.
class Rows {
 public:
  // `name` is "image" or "text", for messages.
  Rows(std::string name, const MatrixView& view, const Kernel& kernel);

  std::int64_t size() const noexcept { return view_.rows; }
  std::int64_t dimensions() const noexcept { return view_.cols; }

  // Computes the length of every row. Throws invalid_argument naming the first row that holds a
  // NaN or an infinity. Without it, lengths are computed each time they are needed.
  void measure(Team& team);

  // out [dimensions]: the stored values, multiplied by a power of two where float64 values are
  // so large or small that products would over- or underflow. int8 gives the codes.
  void load(std::int64_t row, double* out, Scratch& scratch) const;
  // Length of what load() gives; negative for an int8 row of negative scale, 0 for a zero row.
  // Throws invalid_argument for NaN or infinity.
  double length(std::int64_t row) const;
  // Cosine of `row` with a loaded row, in float64, limited to [-1, 1]; 0 when either is zero.
  double cosine(const double* loaded, double loaded_length, std::int64_t row,
                Scratch& scratch) const;
  // Asks for a row that cosine() will read soon.
  void prefetch(std::int64_t row) const noexcept {
    const char* bytes = static_cast<const char*>(view_.row(row));
    const std::int64_t size = view_.cols * size_of(view_.dtype);
    for (std::int64_t at = 0; at < size; at += 64) __builtin_prefetch(bytes + at);
  }
  // out [dimensions]: the unit vector in float32, zeros for a zero row.
  void unit(std::int64_t row, float* out, Scratch& scratch) const;

 private:
  double compute_length(std::int64_t row, Scratch& scratch) const;
  void load_double(std::int64_t row, double* out) const;
  const float* as_float(std::int64_t row, Scratch& scratch) const;
  [[noreturn]] void refuse(std::int64_t row) const;

  const std::string name_;
  MatrixView view_;     // without its scale: int8 gives the codes
  const float* scale_;  // int8 only
  const Kernel& kernel_;
  const bool direct_;  // float32 in aligned memory: used where it lies
  std::vector<double> length_;
};

}  // namespace helip::mining
