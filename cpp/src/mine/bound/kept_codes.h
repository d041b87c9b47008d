// Lengths, filters, order and codes of the rows of a store, kept in a folder, so that a later job
// of the same rows need not make them again.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "helip/progress.h"
#include "io/json.h"
#include "io/manifest.h"
#include "io/tensor_file.h"
#include "mine/bound/filter_plan.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/corpus.h"

namespace helip::mining {

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
  // What lies in `folder` is taken where `fits(its identity)`; what is made is kept there as of
  // `identity`, in the place of what lay there. The folder need not be there. `progress`: of
  // writing. Throws Error: io, corrupt, mismatch (something else lies there).
  KeptCodes(std::filesystem::path folder, OrderedJson identity,
            const std::function<bool(const OrderedJson&)>& fits, const ProgressCallback& progress);

  bool found() const noexcept { return file_.has_value(); }

  // Of what was found. All that is read throws Error(corrupt) where it cannot be that of the rows.
  FilterPlan plan() const;
  // Without the rows to forget; its clusters are gone then.
  RowOrder order() const;
  RowLengths lengths() const;
  // Codes of the rows of order(), `stride` bytes each, before errors became slacks, into a buffer
  // of bytes() at least. Returns how many rows these are.
  std::int64_t read(std::int8_t* codes, std::int64_t stride, CodeScales& scales) const;
  std::int64_t bytes() const;
  // Rows of other values now are not 0, [rows of the store at least]. What was found is one part of
  // what is wanted then, and all is kept anew.
  void forget(std::vector<std::uint8_t> rows);
  bool is_all() const noexcept { return found() && forgotten_.empty(); }

  // Does nothing where another process is writing there.
  void keep(const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
            const CodeScales& scales, const std::int8_t* codes, std::int64_t bytes);

 private:
  [[noreturn]] void damaged(const std::string& what) const;
  template <typename Read>
  auto checked(const Read& read) const;
  RowOrder whole_order() const;
  void remove_all_but(const std::string& file) const noexcept;

  const std::filesystem::path folder_;
  const OrderedJson identity_;
  const ProgressCallback& progress_;
  Json facts_;  // of the manifest
  std::optional<TensorFile> file_;
  std::vector<std::uint8_t> forgotten_;
};

}  // namespace helip::mining
