#include "mine/pool/updated_pools.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>

#include "mine/corpus/scorer.h"

namespace helip::mining {

UpdatedPools::UpdatedPools(const Corpus& corpus, const HardPairs& before,
                           const std::vector<std::uint8_t>& outdated,
                           std::vector<std::uint32_t> fresh)
    : corpus_(corpus),
      before_(before),
      outdated_(outdated),
      fresh_rows_(std::move(fresh)),
      fresh_pools_(corpus, fresh_rows_, before.k(), 0, nullptr) {}

void UpdatedPools::begin_band(std::vector<std::uint32_t> rows) {
  band_pools_.reset();
  band_rows_ = std::move(rows);
  band_pools_ = std::make_unique<Pools>(corpus_, band_rows_, before_.k(), 0, nullptr);
  for (std::size_t i = 0; i < band_rows_.size(); ++i) {
    const std::int64_t row = band_rows_[i];
    if (before_.count(row) < before_.k()) continue;
    // The score itself was rounded when it was stored, by less than this.
    const float last = before_.score(row, before_.k() - 1);
    band_pools_->raise_threshold(static_cast<std::int64_t>(i), std::nextafter(last, -1.0F));
  }
}

float UpdatedPools::threshold(std::int64_t target) const noexcept {
  return target < fresh() ? fresh_pools_.threshold(target)
                          : band_pools_->threshold(target - fresh());
}

void UpdatedPools::raise_threshold(std::int64_t target, float threshold) noexcept {
  if (target < fresh()) {
    fresh_pools_.raise_threshold(target, threshold);
  } else {
    band_pools_->raise_threshold(target - fresh(), threshold);
  }
}

void UpdatedPools::consider(std::int64_t target, std::int64_t row, double score, Verdict verdict) {
  if (target < fresh()) {
    fresh_pools_.consider(target, row, score, verdict);
  } else {
    band_pools_->consider(target - fresh(), row, score, verdict);
  }
}

void UpdatedPools::score_pair(std::int64_t target, std::int64_t row, std::int64_t mirror,
                              Scorer& scorer) {
  const std::int64_t own = target < fresh()
                               ? fresh_rows_[static_cast<std::size_t>(target)]
                               : band_rows_[static_cast<std::size_t>(target - fresh())];
  const Evaluation evaluated = scorer.evaluate(own, row);
  if (evaluated.score <= corpus_.rules().min_score) return;
  consider(target, row, evaluated.score, evaluated.target);
  if (mirror >= 0) consider(mirror, own, evaluated.score, evaluated.candidate);
}

void UpdatedPools::finish(std::int64_t target, HardPairBand& band, std::int64_t row, Scorer& scorer,
                          DropCounts& drops) {
  if (target < fresh()) return fresh_pools_.finish(target, band, row, drops);
  band_pools_->list_kept_out(target - fresh(), drops);
  merge(target - fresh(), band, row, scorer);
}

// Both parts are in the order of a pool. Old scores are float32: rounding keeps their order, and
// where a rounded one equals that of a new pair, it is computed again.
void UpdatedPools::merge(std::int64_t target, HardPairBand& band, std::int64_t row,
                         Scorer& scorer) const {
  const std::int64_t own = band_rows_[static_cast<std::size_t>(target)];
  const std::vector<Scored> added = band_pools_->sorted(target);
  const std::int64_t held = before_.count(own);
  std::size_t next_added = 0;
  std::int64_t next_old = 0;
  std::optional<double> exact;  // score of the next old one
  std::int64_t kept = 0;
  const auto put = [&](std::int64_t id, float score) {
    const auto to = static_cast<std::size_t>(row * band.k + kept++);
    band.ids[to] = id;
    band.scores[to] = score;
  };
  while (kept < band.k) {
    while (next_old < held && outdated_[static_cast<std::size_t>(before_.id(own, next_old))] != 0) {
      ++next_old;
      exact.reset();
    }
    const bool more_old = next_old < held;
    if (next_added == added.size() && !more_old) break;
    bool old_first = next_added == added.size();
    if (more_old && !old_first) {
      const Scored& pair = added[next_added];
      const auto rounded = static_cast<float>(pair.score);
      const float score = before_.score(own, next_old);
      if (score != rounded) {
        old_first = score > rounded;
      } else {
        const std::int64_t id = before_.id(own, next_old);
        if (!exact) exact = scorer.evaluate(own, id).score;
        old_first = ranks_before({*exact, id}, pair);
      }
    }
    if (old_first) {
      put(before_.id(own, next_old), before_.score(own, next_old));
      ++next_old;
      exact.reset();
    } else {
      put(added[next_added].id, static_cast<float>(added[next_added].score));
      ++next_added;
    }
  }
  band.counts[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(kept);
}

namespace {

constexpr std::uint32_t kNone = ~0U;
constexpr std::int64_t kSample = 1024;
constexpr std::int64_t kLookInto = 6;  // pools at each step
constexpr std::int64_t kGrain = 16;

}  // namespace

// One thread's part.
class TableThresholds::Search {
 public:
  explicit Search(const TableThresholds& table)
      : table_(table),
        corpus_(table.corpus_),
        codes_(table.codes_),
        before_(table.before_),
        scorer_(table.corpus_),
        seen_by_(static_cast<std::size_t>(table.corpus_.size()), kNone) {}

  // 0 where too few rows were found.
  float threshold(std::uint32_t row) {
    row_ = row;
    seen_by_[row] = row;
    found_.clear();
    looked_into_ = 0;
    scores_.clear();
    if (row < before_.size() && table_.outdated_[row] == 0) {
      keep_pool();
    } else {
      start_from_sample();
      look_into_closest();
    }
    look_into_closest();
    score_closest();
    const auto k = static_cast<std::size_t>(before_.k());
    if (scores_.size() < k) return 0.0F;
    const auto last = scores_.begin() + static_cast<std::ptrdiff_t>(k - 1);
    std::nth_element(scores_.begin(), last, scores_.end(), std::greater<>());
    return rounded_down(*last);
  }

 private:
  struct Found {
    std::int32_t product;  // of the filter's codes
    std::uint32_t row;
  };

  void add(std::uint32_t other) {
    if (seen_by_[other] == row_ || table_.place_[other] == kNone) return;
    seen_by_[other] = row_;
    found_.push_back({0, other});
  }

  // The closest rows of the sample.
  void start_from_sample() {
    const std::int64_t depth = codes_.depth(Codes::kLow);
    pointers_.clear();
    for (std::size_t i = 0; i < table_.sample_.size(); ++i) {
      pointers_.push_back(table_.sample_codes_.get() + static_cast<std::int64_t>(i) * depth);
    }
    for (const std::uint32_t row : table_.sample_) found_.push_back({0, row});
    measure(0);
    found_.resize(static_cast<std::size_t>(bring_forward(0, kLookInto)));
    for (const Found& found : found_) seen_by_[found.row] = row_;
  }

  void add_pool(std::uint32_t row) {
    for (std::int64_t rank = 0; rank < before_.count(row); ++rank) {
      add(static_cast<std::uint32_t>(before_.id(row, rank)));
    }
  }

  // What is left of an old row's pool counts by its scores, which were rounded when they were
  // stored, by less than this.
  void keep_pool() {
    for (std::int64_t rank = 0; rank < before_.count(row_); ++rank) {
      const auto other = static_cast<std::uint32_t>(before_.id(row_, rank));
      if (table_.place_[other] == kNone || table_.outdated_[other] != 0) continue;
      seen_by_[other] = row_;
      scores_.push_back(std::nextafter(before_.score(row_, rank), -1.0F));
      pool_.push_back(other);
    }
    for (std::size_t i = 0; i < std::min<std::size_t>(pool_.size(), kLookInto); ++i) {
      add_pool(pool_[i]);
    }
    pool_.clear();
    measure_from(0);
  }

  // Products of the row with those that were found since.
  void measure_from(std::size_t from) {
    pointers_.clear();
    for (std::size_t i = from; i < found_.size(); ++i) {
      pointers_.push_back(codes_.codes(Codes::kLow, table_.place_[found_[i].row]));
    }
    measure(from);
  }

  // The same by pointers_ to their codes.
  void measure(std::size_t from) {
    products_.resize(pointers_.size());
    const Kernel& kernel = corpus_.kernel();
    kernel.gather_products(codes_.codes(Codes::kLow, table_.place_[row_]), pointers_.data(),
                           static_cast<std::int64_t>(pointers_.size()), codes_.depth(Codes::kLow),
                           products_.data());
    for (std::size_t i = from; i < found_.size(); ++i) {
      const FilterBounds& bounds = codes_.bounds(Codes::kLow, table_.place_[found_[i].row]);
      found_[i].product = kernel.limits.exact_product(products_[i - from], bounds.sum) +
                          static_cast<std::int32_t>(bounds.offset);
    }
  }

  // The closest `count` come first of those from `from` on; how many there are.
  std::int64_t bring_forward(std::int64_t from, std::int64_t count) {
    count = std::min(count, static_cast<std::int64_t>(found_.size()) - from);
    const auto begin = found_.begin() + from;
    std::nth_element(begin, begin + count, found_.end(), [](const Found& a, const Found& b) {
      return a.product != b.product ? a.product > b.product : a.row < b.row;
    });
    return count;
  }

  void look_into_closest() {
    const std::size_t before = found_.size();
    const std::int64_t end = looked_into_ + bring_forward(looked_into_, kLookInto);
    for (; looked_into_ < end; ++looked_into_) {
      add_pool(found_[static_cast<std::size_t>(looked_into_)].row);
    }
    measure_from(before);
  }

  // The best by these products need not be the best by score: a few more than are missing.
  void score_closest() {
    const std::int64_t missing = before_.k() - static_cast<std::int64_t>(scores_.size());
    const std::int64_t count = bring_forward(0, missing + missing / 16 + 4);
    for (std::int64_t i = 0; i < count; ++i) {
      if (i + 1 < count) scorer_.prefetch(found_[static_cast<std::size_t>(i + 1)].row);
      const Evaluation evaluated = scorer_.evaluate(row_, found_[static_cast<std::size_t>(i)].row);
      if (evaluated.target == Verdict::kept) scores_.push_back(evaluated.score);
    }
  }

  const TableThresholds& table_;
  const Corpus& corpus_;
  const Codes& codes_;
  const HardPairs& before_;
  Scorer scorer_;
  std::uint32_t row_ = 0;
  std::vector<std::uint32_t> seen_by_;  // [rows]: for which row a row was found last
  std::vector<Found> found_;            // each once
  std::int64_t looked_into_ = 0;        // of those, the first
  std::vector<std::uint32_t> pool_;
  std::vector<double> scores_;
  std::vector<const std::int8_t*> pointers_;
  std::vector<std::int32_t> products_;
};

TableThresholds::TableThresholds(const Corpus& corpus, const Codes& codes, const RowOrder& order,
                                 const HardPairs& before, const std::vector<std::uint8_t>& outdated)
    : corpus_(corpus), codes_(codes), before_(before), outdated_(outdated) {
  place_.resize(static_cast<std::size_t>(corpus.size()), kNone);
  std::vector<std::uint32_t> old;
  for (std::size_t place = 0; place < order.rows.size(); ++place) {
    place_[order.rows[place]] = static_cast<std::uint32_t>(place);
    const std::uint32_t row = order.rows[place];
    if (row < before.size() && outdated[row] == 0) old.push_back(order.rows[place]);
  }
  const auto count = static_cast<std::int64_t>(old.size());
  for (std::int64_t i = 0; i < std::min(kSample, count); ++i) {
    sample_.push_back(old[static_cast<std::size_t>(i * count / std::min(kSample, count))]);
  }
  const std::int64_t depth = codes.depth(Codes::kLow);
  sample_codes_ = allocate_aligned<std::int8_t>(depth * static_cast<std::int64_t>(sample_.size()));
  for (std::size_t i = 0; i < sample_.size(); ++i) {
    std::copy_n(codes.codes(Codes::kLow, place_[sample_[i]]), depth,
                sample_codes_.get() + static_cast<std::int64_t>(i) * depth);
  }
}

void TableThresholds::raise(const std::vector<std::uint32_t>& rows, SweepSink& sink,
                            Team& team) const {
  std::vector<std::unique_ptr<Search>> searches(static_cast<std::size_t>(team.size()));
  team.for_blocks(static_cast<std::int64_t>(rows.size()), kGrain,
                  [&](std::int64_t target, std::int64_t end, int worker) {
                    auto& search = searches[static_cast<std::size_t>(worker)];
                    if (!search) search = std::make_unique<Search>(*this);
                    for (; target < end && !team.stopped(); ++target) {
                      sink.raise_threshold(
                          target, search->threshold(rows[static_cast<std::size_t>(target)]));
                    }
                  });
}

}  // namespace helip::mining
