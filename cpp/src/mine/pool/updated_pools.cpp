#include "mine/pool/updated_pools.h"

#include <cmath>
#include <optional>
#include <utility>

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
  const Judged judged = scorer.judge(own, row);
  if (judged.score <= corpus_.rules().min_score) return;
  consider(target, row, judged.score, judged.target);
  if (mirror >= 0) consider(mirror, own, judged.score, judged.candidate);
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
        if (!exact) exact = scorer.judge(own, id).score;
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

}  // namespace helip::mining
