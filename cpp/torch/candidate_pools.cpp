#include "candidate_pools.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <functional>
#include <vector>

namespace helip {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

class Pools {
 public:
  Pools(const Tensor& ids, const Tensor& upper, const Tensor& lower, const Tensor& counts,
        const Tensor& thresholds, int64_t k)
      : size_(counts.size(0)), k_(k) {
    STD_TORCH_CHECK(ids.dim() == 2 && ids.size(0) == size_ && k >= 1,
                    "helip: candidate lists must be matrices of a row a target, and k at least 1");
    capacity_ = ids.size(1);
    ids_ = data<std::int32_t>(ids, ScalarType::Int, size_ * capacity_);
    upper_ = data<float>(upper, ScalarType::Float, size_ * capacity_);
    lower_ = data<float>(lower, ScalarType::Float, size_ * capacity_);
    counts_ = data<std::int32_t>(counts, ScalarType::Int, size_);
    thresholds_ = data<float>(thresholds, ScalarType::Float, size_);
  }

  template <class Value>
  static Value* data(const Tensor& tensor, ScalarType dtype, int64_t size) {
    STD_TORCH_CHECK(tensor.is_cpu() && tensor.is_contiguous() && tensor.scalar_type() == dtype &&
                        tensor.numel() == size,
                    "helip: candidate lists and survivors must be contiguous CPU tensors of int32 "
                    "and float32 that fit each other");
    return static_cast<Value*>(tensor.mutable_data_ptr());
  }

  int64_t size() const { return size_; }

  // False when the list stays full.
  bool offer(int64_t target, std::int32_t id, float upper, float lower) {
    if (target < 0 || target >= size_ || !(upper >= thresholds_[target])) return true;
    if (counts_[target] == capacity_) {
      trim(target);
      if (!(upper >= thresholds_[target])) return true;
      if (counts_[target] == capacity_) return false;
    }
    const int64_t place = target * capacity_ + counts_[target]++;
    ids_[place] = id;
    upper_[place] = upper;
    lower_[place] = lower;
    return true;
  }

  void trim(int64_t target) {
    const int64_t count = counts_[target];
    if (count < k_) return;
    const int64_t start = target * capacity_;
    scratch_.assign(lower_ + start, lower_ + start + count);
    std::nth_element(scratch_.begin(), scratch_.begin() + (k_ - 1), scratch_.end(),
                     std::greater<>());
    const float threshold =
        std::max(thresholds_[target], scratch_[static_cast<std::size_t>(k_ - 1)]);
    thresholds_[target] = threshold;
    int64_t kept = start;
    for (int64_t place = start; place < start + count; ++place) {
      if (upper_[place] < threshold) continue;
      ids_[kept] = ids_[place];
      upper_[kept] = upper_[place];
      lower_[kept] = lower_[place];
      ++kept;
    }
    counts_[target] = static_cast<std::int32_t>(kept - start);
  }

 private:
  const int64_t size_;
  const int64_t k_;
  int64_t capacity_ = 0;
  std::int32_t* ids_ = nullptr;
  float* upper_ = nullptr;
  float* lower_ = nullptr;
  std::int32_t* counts_ = nullptr;
  float* thresholds_ = nullptr;
  std::vector<float> scratch_;
};

}  // namespace

int64_t pool_offer(Tensor ids, Tensor upper, Tensor lower, Tensor counts, Tensor thresholds,
                   Tensor rows, Tensor columns, Tensor survivor_upper, Tensor survivor_lower,
                   int64_t k, int64_t first, int64_t row_first, int64_t column_first,
                   int64_t position) {
  Pools pools(ids, upper, lower, counts, thresholds, k);
  const int64_t count = rows.numel();
  const auto* row = Pools::data<std::int32_t>(rows, ScalarType::Int, count);
  const auto* column = Pools::data<std::int32_t>(columns, ScalarType::Int, count);
  const auto* above = Pools::data<float>(survivor_upper, ScalarType::Float, count);
  const auto* below = Pools::data<float>(survivor_lower, ScalarType::Float, count);
  for (int64_t number = position; number < 2 * count; ++number) {
    const int64_t s = number / 2;
    const int64_t i = row_first + row[s];
    const int64_t j = column_first + column[s];
    const bool to_row = number % 2 == 0;
    const int64_t target = (to_row ? i : j) - first;
    const auto candidate = static_cast<std::int32_t>(to_row ? j : i);
    if (!pools.offer(target, candidate, above[s], below[s])) return number;
  }
  return 2 * count;
}

void pool_trim(Tensor ids, Tensor upper, Tensor lower, Tensor counts, Tensor thresholds, int64_t k,
               int64_t begin, int64_t end) {
  Pools pools(ids, upper, lower, counts, thresholds, k);
  STD_TORCH_CHECK(begin >= 0 && end <= pools.size(), "helip::pool_trim: places ", begin, " .. ",
                  end, " of ", pools.size(), " targets");
  for (int64_t target = begin; target < end; ++target) pools.trim(target);
}

}  // namespace helip
