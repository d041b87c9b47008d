// Lengths, filters, order and codes of the rows of a store, kept in a folder, so that a later job
// of the same rows need not make them again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "helip/progress.h"
#include "io/json.h"
#include "io/tensor_file.h"
#include "mine/bound/filter_plan.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

// Of what is kept: raised with each change of how filters, the order or codes are made.
inline constexpr int kCodesVersion = 1;

// What the codes of all rows have in common: their scales, and the greatest lengths of what was
// rounded to them; of the three filters and of the unit vectors.
struct CodeScales {
  double filters[3] = {1.0, 1.0, 1.0};
  double longest_filters[3] = {0.0, 0.0, 0.0};
  double longest_image = 0.0, longest_text = 0.0;

  void take_longest(const CodeScales& other) noexcept;
};

class KeptCodes {
 public:
  // What lies in `folder` is taken where it is of this program and kernel, of filters that were
  // chosen for half of the rows at least, and `fits(its identity)`. Else the folder is made, and
  // what is made of the corpus is kept there as of `identity`. `progress`: of reading and writing.
  // Throws Error: io, corrupt, mismatch and invalid_argument (something else lies there).
  KeptCodes(std::filesystem::path folder, const Corpus& corpus, OrderedJson identity,
            const std::function<bool(const OrderedJson&)>& fits, const ProgressCallback& progress);

  bool found() const noexcept { return file_.has_value(); }
  // Marks rows [corpus.size()] that were deleted or changed since, before what was found is read.
  void forget(std::vector<std::uint8_t> rows);

  // Of what was found. All that is read throws Error(corrupt) where it cannot be that of the
  // corpus.
  FilterPlan plan() const;
  // Without the rows to forget; its clusters are gone then.
  RowOrder order() const;
  RowLengths lengths() const;
  // Codes of the rows of order(), `stride` bytes each, before errors became slacks, into a buffer
  // of bytes() at least. Returns how many rows these are.
  std::int64_t read(std::int8_t* codes, std::int64_t stride, CodeScales& scales) const;
  std::int64_t bytes() const;

  // Does nothing where another process is writing there, or has kept the same.
  void keep(const FilterPlan& plan, const RowOrder& order, const CodeScales& scales,
            const std::int8_t* codes, std::int64_t bytes);

 private:
  void find(const std::function<bool(const OrderedJson&)>& fits);
  [[noreturn]] void damaged(const std::string& what) const;
  template <typename Read>
  auto checked(const Read& read) const;
  RowOrder whole_order() const;
  Basis read_basis(const std::string& name) const;
  std::vector<float> read_mean(const std::string& name, std::int64_t dimensions) const;
  bool holds_the_same() const;

  const std::filesystem::path folder_;
  const Corpus& corpus_;
  const OrderedJson identity_;
  const ProgressCallback& progress_;
  Json facts_;  // of the manifest
  std::int64_t rows_ = 0;
  std::optional<TensorFile> file_;
  std::vector<std::uint8_t> forgotten_;
};

}  // namespace helip::mining
