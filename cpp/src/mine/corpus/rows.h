// The rows of one channel: their lengths, their exact cosines, and float32 unit vectors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/team.h"
#include "helip/matrix.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

// A row that was read, to be compared with others; also a thread's buffer for the other row, one
// for each modality.
struct LoadedRow {
  std::int64_t row = -1;
  double length = 0.0;            // see Rows::length()
  const float* single = nullptr;  // [dimensions]; nullptr for rows of float64
  std::vector<float> converted;   // what `single` points to when it is not the matrix itself
  std::vector<double> wide;       // [dimensions], float64 rows, and others that are used again
  int uses = 0;
};

// The cosine of two vectors, limited to [-1, 1]. `lengths`: the product of theirs, not zero.
inline double cosine_of(double dot, double lengths) noexcept {
  return std::clamp(dot / lengths, -1.0, 1.0);
}

inline constexpr double kUnknownLength = std::numeric_limits<double>::quiet_NaN();

// Immutable after measure(); safe to read from many threads. The views must outlive it.
class Rows {
 public:
  // `name` such as "image", for messages.
  Rows(const std::string& name, const MatrixView& view, const Kernel& kernel);
  // The rows of `first`, then those of `second`: of as many columns, of any dtype each.
  Rows(const std::string& first_name, const MatrixView& first, const std::string& second_name,
       const MatrixView& second, const Kernel& kernel);

  std::int64_t size() const noexcept { return first_.view.rows + second_.view.rows; }
  std::int64_t dimensions() const noexcept { return first_.view.cols; }
  // Throws Error(corrupt) where a file of the rows became shorter while they were read.
  void require_whole() const;

  // Computes the length of every row, but for those that are known: [size()] at most,
  // kUnknownLength where they are not. Throws invalid_argument naming the first row that holds a
  // NaN or an infinity. Without it, lengths are computed each time they are needed.
  void measure(Team& team, std::vector<double> known = {});
  // [size()], or empty before measure().
  const std::vector<double>& lengths() const noexcept { return length_; }

  // Length of a row as it is compared: of the stored values, in float64 multiplied by a power of
  // two where products would over- or underflow; of the codes for int8. Negative for an int8 row of
  // negative scale, 0 for a zero row and a deleted one. Throws invalid_argument for NaN or
  // infinity.
  double length(std::int64_t row) const;
  void load(std::int64_t row, LoadedRow& out) const;
  // out [dimensions]: the values that length() belongs to.
  void load_wide(std::int64_t row, double* out) const;
  // Cosine of `row` with a loaded row of these or of other rows, in float64, limited to [-1, 1]; 0
  // when either is zero. The same bits whichever of the two was loaded. `other` is a buffer.
  double cosine(LoadedRow& loaded, std::int64_t row, LoadedRow& other) const;
  // Of two loaded rows.
  double cosine(LoadedRow& loaded, LoadedRow& other) const;
  // Asks for a row that cosine() will read soon.
  void prefetch(std::int64_t row) const noexcept {
    const MatrixView& view = of(row).view;
    const char* bytes = static_cast<const char*>(view.row(row));
    const std::int64_t size = view.cols * size_of(view.dtype);
    for (std::int64_t at = 0; at < size; at += 64) __builtin_prefetch(bytes + at);
  }
  // out [dimensions]: the unit vector in float32, zeros for a zero row.
  void unit(std::int64_t row, float* out, LoadedRow& buffer) const;

 private:
  struct Segment {
    Segment(std::string name, const MatrixView& view);

    std::string name;
    MatrixView view;               // without its scale: int8 gives the codes
    const float* scale = nullptr;  // int8 only
    const std::uint8_t* deleted;   // nullptr: no row
    bool direct;                   // float32 in aligned memory: used where it lies
    bool is_deleted(std::int64_t row) const { return deleted != nullptr && deleted[row] != 0; }
  };

  // Where a row lies, which becomes its number there.
  const Segment& of(std::int64_t& row) const noexcept {
    if (row < first_.view.rows) return first_;
    row -= first_.view.rows;
    return second_;
  }
  double compute_length(std::int64_t row, LoadedRow& buffer) const;
  double checked_length(std::int64_t row, LoadedRow& buffer) const;
  void load_values(std::int64_t row, LoadedRow& out) const;
  double dot(LoadedRow& loaded, LoadedRow& other) const;
  [[noreturn]] void refuse(std::int64_t row) const;

  const Segment first_, second_;
  const Kernel& kernel_;
  std::vector<double> length_;
};

}  // namespace helip::mining
