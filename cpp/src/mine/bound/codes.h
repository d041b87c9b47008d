// The rows in int8, with what bounds the error of that: what the filters compute with.
//
// A vector x is stored as codes c of its difference from a mean m, x − m = S·c + r, with |r|
// measured, and as the offset b = <m, x> − |m|²/2. For two of them, with y = x − m,
//
//     <x, x'> = <y, y'> + b + b',
//     <y, y'> = S²<c, c'> + <y, r'> + <r, y'> − <r, r'> <= S²<c, c'> + h + h',
//     h = Z·|r| + |r|²/2,  Z >= |y|, |y'|,
//
// by Cauchy-Schwarz and 2ab <= a² + b². Every float32 rounding on the way to c is in |r|.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "base/scratch_memory.h"
#include "base/team.h"
#include "mine/bound/filter_plan.h"
#include "mine/bound/kept_codes.h"
#include "mine/bound/row_order.h"
#include "mine/corpus/corpus.h"
#include "mine/kernel/product_panels.h"

namespace helip::mining {

// Of one row. Offsets, tails and slacks are in units of the codes' products, that is divided by S².
struct FilterBounds {
  float offset, tail, slack;
  std::int32_t sum;  // of the codes
};
// Of the codes of one channel, on two levels: with y = unit vector − mean,
//     y = scale · (coarse + fine / kFineSteps) + r,    fine in 4 bits, -8 .. 7
// and for two rows, without the product of both fine parts,
//     <y, y'> = s·s' (<coarse, coarse'> + (<coarse, fine'> + <fine, coarse'>) / kFineSteps) ± e ±
//     e'
// where e is the row's fine_error, or its error without what the fine codes add.
struct UnitBounds {
  float scale, offset;
  float error, fine_error;
  std::int32_t sum;  // of the coarse codes
};
inline constexpr float kFineSteps = 16.0F;
class Codes {
 public:
  // Codes of the rows of `order`, in that order. `folder` empty: in memory, else on disk there.
  // `kept` has those of the first rows where it found any, with the same plan; where more than an
  // eighth of the rows is new to it, it keeps all. nullptr: nobody does. Stage "encode".
  Codes(const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
        const std::filesystem::path& folder, Team& team, KeptCodes* kept = nullptr);
  ~Codes();
  Codes(Codes&&) = default;

  static std::int64_t bytes_per_row(const Corpus& corpus, const FilterPlan& plan) noexcept;

  std::int64_t size() const noexcept { return size_; }
  // What pairs of two high rows, other pairs, and those that passed are held against.
  enum Filter { kHigh = 0, kLow = 1, kSecond = 2 };
  std::int64_t depth(Filter filter) const noexcept { return depth_[filter]; }  // 0: there is none
  int channels() const noexcept { return channels_; }
  std::int64_t unit_depth(int channel) const noexcept { return units_[channel].depth; }
  bool has_fine() const noexcept { return has_fine_; }

  // Bounds lie side by side, so that those of many rows fit into a cache.
  const FilterBounds& bounds(Filter filter, std::int64_t place) const noexcept {
    return filter_bounds_[filter][place];
  }
  const UnitBounds& unit_bounds(int channel, std::int64_t place) const noexcept {
    return units_[channel].bounds[place];
  }
  const std::int8_t* codes(Filter filter, std::int64_t place) const noexcept {
    return at(place) + filter_at_[filter];
  }
  // The coarse codes; the fine ones, if there are any, follow, unit_depth() further, see
  // Kernel::gather_fine().
  const std::int8_t* unit(int channel, std::int64_t place) const noexcept {
    return at(place) + units_[channel].at;
  }

  // A bound <w, w'> >= b is <codes, codes'> >= b · factor, less the slacks.
  double factor(Filter filter) const noexcept {
    return 1.0 / (scales_.filters[filter] * scales_.filters[filter]);
  }

 private:
  struct Layout;
  class Encoder;
  void find_scales(const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
                   const ProductPanels* panels, Team& team);
  void encode(const Corpus& corpus, const FilterPlan& plan, const RowOrder& order,
              std::int64_t first, const ProductPanels* panels, Team& team);
  void finish(const FilterPlan& plan, const Corpus& corpus, Team& team);
  std::vector<CodeSection> sections() const;
  std::int8_t* at(std::int64_t place) const noexcept {
    return reinterpret_cast<std::int8_t*>(memory_.data()) + place * stride_;
  }

  std::int64_t size_ = 0;
  std::int64_t stride_ = 0;
  std::int64_t depth_[3] = {0, 0, 0};
  std::int64_t filter_at_[3] = {0, 0, 0};
  CodeScales scales_;
  int channels_ = 0;
  struct {
    std::int64_t depth = 0, at = 0;
    UnitBounds* bounds = nullptr;
  } units_[kMostChannels];
  bool has_fine_ = true;
  ScratchMemory memory_, bound_memory_;
  std::shared_ptr<MappedCodes> mapped_;  // the start of memory_
  FilterBounds* filter_bounds_[3] = {};  // [size], nullptr: there is no such filter
};

}  // namespace helip::mining
