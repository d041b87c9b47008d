// Cosines of the pairs that a table names, by the embeddings of any model: what a filter goes by.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "helip/export.h"
#include "helip/matrix.h"
#include "helip/progress.h"

namespace helip {

// Of a target i and a row j: what of i is compared with what of j.
enum class PairSides { image_text, text_image, image_image, text_text };

// Immutable; safe to use from many threads. Keeps 8 bytes a row and modality, besides the views.
class HELIP_EXPORT PairCosines {
 public:
  // Reads both matrices [rows, d_image] and [rows, d_text] once; they must outlive it. `threads` 0:
  // all cores. Throws Error: invalid_argument (numbers of rows that differ, NaN or infinity with
  // its row), cancelled, out_of_memory.
  PairCosines(const MatrixView& image, const MatrixView& text, int threads,
              const ProgressCallback& progress = {});
  ~PairCosines();
  PairCosines(const PairCosines&) = delete;
  PairCosines& operator=(const PairCosines&) = delete;

  // [n, k] cosines in float64 of the targets first .. first + n - 1 and the rows ids [n * k]. NaN
  // where the id is -1 and where one of the two rows is zero or deleted. Throws Error:
  // invalid_argument (a row outside the matrices, sides of different widths), cancelled,
  // out_of_memory.
  [[nodiscard]] std::vector<double> of(PairSides sides, std::int64_t first,
                                       std::span<const std::int64_t> ids, std::int64_t k,
                                       const ProgressCallback& progress = {}) const;

 private:
  class Matrices;
  std::unique_ptr<const Matrices> matrices_;
};

}  // namespace helip
