#include "helip/growing_pairs.h"

#include <algorithm>
#include <new>
#include <string>

#include "base/refuse.h"
#include "base/rethrow.h"
#include "helip/hard_pairs_writer.h"

namespace helip {
namespace {

constexpr std::int64_t kMaxRows = 0x7fffffff;  // ids are kept in 32 bits

}  // namespace

struct GrowingPairs::Impl {
  Impl(std::int64_t rows_, std::int64_t k_) : rows(rows_), k(k_) {
    if (rows < 0 || rows > kMaxRows) {
      refuse("a growing table of ", rows, " rows; it can have 0 .. ", kMaxRows);
    }
    if (k < 1 || k > kMaxRows) {
      refuse("k is ", k, ", but must lie in 1 .. ", kMaxRows);
    }
    try {
      const auto places = static_cast<std::size_t>(rows * k);
      ids.reset(new std::int32_t[places]);  // not touched before it is needed
      scores.reset(new float[places]);
      counts.resize(static_cast<std::size_t>(rows));
    } catch (const std::bad_alloc&) {
      fail(ErrorCode::out_of_memory, "there is not enough memory for pools of ", rows,
           " rows and k = ", k, "; lower k");
    }
  }

  std::size_t at(std::int64_t target, std::int64_t rank) const noexcept {
    return static_cast<std::size_t>(target * k + rank);
  }

  void check(const std::vector<std::int64_t>& targets, const HardPairBand& band) const {
    const auto places =
        band.counts.size() * static_cast<std::size_t>(std::max<std::int64_t>(band.k, 0));
    if (band.counts.size() != targets.size() || band.ids.size() != places ||
        band.scores.size() != places) {
      refuse(targets.size(), " targets with ", band.counts.size(), " counts, ", band.ids.size(),
             " ids and ", band.scores.size(), " scores of k = ", band.k,
             "; give one pool for each target");
    }
    const auto check_row = [this](std::int64_t row) {
      if (row >= 0 && row < rows) return;
      refuse("row ", row, " is none of the rows 0 .. ", rows - 1,
             " of the table; ids must be rows of the data set");
    };
    for (std::size_t i = 0; i < targets.size(); ++i) {
      check_row(targets[i]);
      if (band.counts[i] < 0 || band.counts[i] > band.k) {
        refuse("count ", band.counts[i], " of row ", targets[i], " must lie in 0 .. k = ", band.k);
      }
      for (std::int64_t rank = 0; rank < band.counts[i]; ++rank) {
        const std::int64_t id =
            band.ids[i * static_cast<std::size_t>(band.k) + static_cast<std::size_t>(rank)];
        check_row(id);
        if (id == targets[i]) refuse("row ", id, " has itself for a hard pair");
      }
    }
  }

  void take(std::int64_t target, std::int64_t id, float score) {
    std::int32_t& count = counts[static_cast<std::size_t>(target)];
    std::int32_t* pool = ids.get() + at(target, 0);
    float* values = scores.get() + at(target, 0);
    // The place of the pair that goes: the same one of before, a free one, or the last.
    std::int64_t gone = std::find(pool, pool + count, static_cast<std::int32_t>(id)) - pool;
    std::int64_t rank = 0;
    while (rank < count && (values[rank] > score || (values[rank] == score && pool[rank] < id))) {
      ++rank;
    }
    if (gone == count) {
      if (count < k) {
        known += count == 0 ? 1 : 0;
        ++count;
        ++pairs;
      } else if (rank == k) {
        return;
      } else {
        gone = k - 1;
      }
    }
    if (gone < rank) {  // its score fell
      std::copy(pool + gone + 1, pool + rank, pool + gone);
      std::copy(values + gone + 1, values + rank, values + gone);
      --rank;
    } else {
      std::copy_backward(pool + rank, pool + gone, pool + gone + 1);
      std::copy_backward(values + rank, values + gone, values + gone + 1);
    }
    pool[rank] = static_cast<std::int32_t>(id);
    values[rank] = score;
  }

  const std::int64_t rows;
  const std::int64_t k;
  std::int64_t known = 0;
  std::int64_t pairs = 0;
  std::unique_ptr<std::int32_t[]> ids;  // [rows, k], undefined beyond the count
  std::unique_ptr<float[]> scores;      // [rows, k]
  std::vector<std::int32_t> counts;     // [rows]
};

GrowingPairs::GrowingPairs(std::int64_t rows, std::int64_t k) try
    : impl_(std::make_unique<Impl>(rows, k)) {
} catch (...) {
  rethrow_as_error();
}
GrowingPairs::~GrowingPairs() = default;

void GrowingPairs::offer(const std::vector<std::int64_t>& targets, const HardPairBand& found) try {
  impl_->check(targets, found);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const std::size_t first = i * static_cast<std::size_t>(found.k);
    for (std::size_t place = first; place < first + static_cast<std::size_t>(found.counts[i]);
         ++place) {
      impl_->take(targets[i], found.ids[place], found.scores[place]);
      impl_->take(found.ids[place], targets[i], found.scores[place]);
    }
  }
} catch (...) {
  rethrow_as_error();
}

void GrowingPairs::assign(const std::vector<std::int64_t>& targets, const HardPairBand& pools) try {
  impl_->check(targets, pools);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    std::int32_t& count = impl_->counts[static_cast<std::size_t>(targets[i])];
    impl_->known -= count > 0 ? 1 : 0;
    impl_->pairs -= count;
    count = 0;
    const std::size_t first = i * static_cast<std::size_t>(pools.k);
    for (std::size_t place = first; place < first + static_cast<std::size_t>(pools.counts[i]);
         ++place) {
      impl_->take(targets[i], pools.ids[place], pools.scores[place]);
    }
  }
} catch (...) {
  rethrow_as_error();
}

void GrowingPairs::clear() noexcept {
  std::fill(impl_->counts.begin(), impl_->counts.end(), 0);
  impl_->known = 0;
  impl_->pairs = 0;
}

std::int64_t GrowingPairs::size() const noexcept { return impl_->rows; }
std::int64_t GrowingPairs::k() const noexcept { return impl_->k; }
std::int64_t GrowingPairs::known() const noexcept { return impl_->known; }
std::int64_t GrowingPairs::pairs() const noexcept { return impl_->pairs; }
std::int32_t GrowingPairs::count(std::int64_t target) const noexcept {
  return impl_->counts[static_cast<std::size_t>(target)];
}
std::int64_t GrowingPairs::id(std::int64_t target, std::int64_t rank) const noexcept {
  return impl_->ids[impl_->at(target, rank)];
}
float GrowingPairs::score(std::int64_t target, std::int64_t rank) const noexcept {
  return impl_->scores[impl_->at(target, rank)];
}

HardPairBand GrowingPairs::pools(const std::vector<std::int64_t>& targets) const try {
  HardPairBand band;
  band.k = impl_->k;
  const std::size_t places = targets.size() * static_cast<std::size_t>(impl_->k);
  band.ids.assign(places, -1);
  band.scores.assign(places, 0.0F);
  band.counts.reserve(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i] < 0 || targets[i] >= impl_->rows) {
      refuse("target ", targets[i], " is none of the rows 0 .. ", impl_->rows - 1);
    }
    const std::int32_t count = this->count(targets[i]);
    const std::size_t from = impl_->at(targets[i], 0);
    const auto to = static_cast<std::ptrdiff_t>(i) * impl_->k;
    std::copy_n(impl_->ids.get() + from, count, band.ids.begin() + to);
    std::copy_n(impl_->scores.get() + from, count, band.scores.begin() + to);
    band.counts.push_back(count);
  }
  return band;
} catch (...) {
  rethrow_as_error();
}

std::vector<std::int64_t> GrowingPairs::known_targets() const try {
  std::vector<std::int64_t> targets;
  targets.reserve(static_cast<std::size_t>(impl_->known));
  for (std::int64_t row = 0; row < impl_->rows; ++row) {
    if (count(row) > 0) targets.push_back(row);
  }
  return targets;
} catch (...) {
  rethrow_as_error();
}

HardPairs GrowingPairs::table(HardPairs::Origin origin) const try {
  constexpr std::int64_t kBandRows = 4096;
  HardPairsWriter writer({}, impl_->rows, impl_->k);
  for (std::int64_t first = 0; first < impl_->rows; first += kBandRows) {
    std::vector<std::int64_t> targets;
    for (std::int64_t row = first; row < std::min(impl_->rows, first + kBandRows); ++row) {
      targets.push_back(row);
    }
    HardPairBand band = pools(targets);
    band.first = first;
    writer.write(band);
  }
  return writer.finish(std::move(origin));
} catch (...) {
  rethrow_as_error();
}

}  // namespace helip
