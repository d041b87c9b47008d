#include "mine/stream/streaming_search.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "mine/corpus/rows.h"
#include "mine/corpus/scorer.h"
#include "mine/kernel/product_panels.h"
#include "mine/pool/bands.h"

namespace helip::mining {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// More than float32 arithmetic on the bounds themselves can lose: a few times 2^-24.
constexpr double kRounding = 0x1p-22;
// What the cosine of one pair costs, against its share of a product of blocks.
constexpr double kPairCost = 3.0;

// What the computed cosines of one modality say of the true ones.
struct CosineBounds {
  float error;
  float surely_above;  // a greater one is a near duplicate
  float surely_below;  // a smaller one is none

  CosineBounds(std::int64_t dimensions, double maximum) {
    // Unit vectors are rounded to float32: 2^-24 of each, relatively.
    const double bound = product_error(dimensions) * (1.0 + 1e-6) + 0x1p-22 + kRounding;
    error = rounded_up(bound);
    const bool any = maximum < 1.0;
    surely_above = any ? rounded_up(maximum + bound) : kInfinity;
    surely_below = any ? rounded_down(maximum - bound) : kInfinity;
  }
};

// One modality of a row.
struct RowVector {
  const float* values;
  double length;
};
RowVector image_of(const StreamRow& row) { return {row.image, row.image_length}; }
RowVector text_of(const StreamRow& row) { return {row.text, row.text_length}; }

// As Rows::cosine().
double cosine(const RowVector& a, const RowVector& b, std::int64_t size, const Kernel& kernel) {
  if (a.length == 0.0 || b.length == 0.0) return 0.0;
  return cosine_of(kernel.dot_float(a.values, b.values, size), a.length * b.length);
}

// A pair that was not scored yet.
struct Candidate {
  float upper;
  std::uint32_t row;
  bool counts;  // surely no near duplicate
};

// The search that all threads share.
struct Search {
  Search(std::span<const StreamRow> rows_, std::int64_t targets_, std::int64_t k_,
         const StreamDimensions& dimensions_, const Rules& rules_, const Kernel& kernel_)
      : rows(rows_),
        targets(targets_),
        k(std::min(k_, static_cast<std::int64_t>(rows_.size()))),
        dimensions(dimensions_),
        rules(rules_),
        kernel(kernel_),
        image_bounds(dimensions_.image, rules_.image_max),
        text_bounds(dimensions_.text, rules_.text_max),
        thresholds(static_cast<std::size_t>(targets_)),
        image_units(units_of(image_of, dimensions_.image)),
        text_units(units_of(text_of, dimensions_.text)),
        image_panels(image_units.data(), targets_, dimensions_.image, kernel_),
        text_panels(text_units.data(), targets_, dimensions_.text, kernel_) {
    const double image = image_bounds.error, text = text_bounds.error;
    signed_error = rounded_up(image + text + 3.0 * image * text + kRounding);
    width = rounded_up(
        (rules.signed_products ? 2.0 * signed_error : 2.0 * (image + text) + 4.0 * image * text) +
        2.0 * kRounding);
    const float least = std::nextafter(rounded_down(rules.min_score), kInfinity);
    for (std::int64_t t = 0; t < targets; ++t) {
      const StreamRow& target = rows[static_cast<std::size_t>(t)];
      // A zero row scores 0 with every other.
      const bool zero = target.image_length == 0.0 || target.text_length == 0.0;
      thresholds[static_cast<std::size_t>(t)] = zero ? kInfinity : least;
    }
  }

  float threshold_of(std::int64_t target) const noexcept {
    return thresholds[static_cast<std::size_t>(target)].load(std::memory_order_relaxed);
  }
  // To the k-th greatest of the lower bounds of candidates that count; reorders them.
  void raise_threshold(std::int64_t target, std::vector<float>& lows) noexcept {
    if (static_cast<std::int64_t>(lows.size()) < k) return;
    std::nth_element(lows.begin(), lows.begin() + k - 1, lows.end(), std::greater<>());
    const float threshold = lows[static_cast<std::size_t>(k - 1)];
    std::atomic<float>& current = thresholds[static_cast<std::size_t>(target)];
    float seen = current.load(std::memory_order_relaxed);
    while (seen < threshold &&
           !current.compare_exchange_weak(seen, threshold, std::memory_order_relaxed)) {
    }
  }

  // Scores a pair by the definition, and appends it if it counts.
  void append(std::int64_t target, std::uint32_t row, std::vector<Scored>& scored) const {
    const auto& own = rows[static_cast<std::size_t>(target)];
    if (const auto pair = scored_pair(own, rows[row], dimensions, rules, kernel)) {
      scored.push_back(*pair);
    }
  }

  // out [dimensions]: the unit vector, zeros for a zero row.
  void write_unit(const RowVector& vector, std::int64_t size, float* out) const {
    if (vector.length == 0.0) {
      std::fill_n(out, size, 0.0F);
    } else {
      kernel.scale(vector.values, size, 1.0 / vector.length, out);
    }
  }

  const std::span<const StreamRow> rows;
  const std::int64_t targets;
  const std::int64_t k;
  const StreamDimensions dimensions;
  const Rules rules;
  const Kernel& kernel;
  const CosineBounds image_bounds, text_bounds;
  float signed_error = 0.0F;                   // of a signed product of two cosines
  float width = 0.0F;                          // an upper bound exceeds its score by at most this
  std::vector<std::atomic<float>> thresholds;  // [targets]; k pairs that count score at least this
  const std::vector<float> image_units, text_units;  // [targets, dim]
  const ProductPanels image_panels, text_panels;     // of them

 private:
  std::vector<float> units_of(RowVector (*part)(const StreamRow&), std::int64_t size) const {
    std::vector<float> units(static_cast<std::size_t>(targets * size));
    for (std::int64_t t = 0; t < targets; ++t) {
      write_unit(part(rows[static_cast<std::size_t>(t)]), size, units.data() + t * size);
    }
    return units;
  }
};

// One thread's part: the candidates that it found, of each target.
class Worker {
 public:
  explicit Worker(Search& search)
      : search_(search),
        units_(static_cast<std::size_t>(kProductRows *
                                        std::max(search.dimensions.image, search.dimensions.text))),
        image_(image_of, search.image_units, search.image_panels, search.image_bounds.error,
               search.kernel),
        text_(text_of, search.text_units, search.text_panels, search.text_bounds.error,
              search.kernel),
        first_(search.dimensions.image < search.dimensions.text ? &image_ : &text_),
        second_(first_ == &image_ ? &text_ : &image_),
        thresholds_(static_cast<std::size_t>(search.targets)),
        uppers_(thresholds_.size()),
        most_(static_cast<std::size_t>(2 * search.k + 64)),
        pending_(thresholds_.size()),
        scored_(thresholds_.size()) {}
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // All targets against rows [begin, end), at most kProductRows.
  void search(std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = 0; t < search_.targets; ++t) {
      thresholds_[static_cast<std::size_t>(t)] = search_.threshold_of(t);
    }
    multiply(begin, end, *first_);
    const double share = reaching(*first_, end - begin);
    if (kPairCost * share < 1.0) {
      for (std::int64_t r = begin; r < end; ++r) {
        sift_by_first(static_cast<std::uint32_t>(r), first_->row(r - begin));
      }
      return;
    }
    multiply(begin, end, *second_);
    const double other = reaching(*second_, end - begin);
    for (std::int64_t r = begin; r < end; ++r) {
      sift(static_cast<std::uint32_t>(r), image_.row(r - begin), text_.row(r - begin));
    }
    if (work(*second_, other, *first_) < work(*first_, share, *second_)) {
      std::swap(first_, second_);
    }
  }

  // Lower bounds of the scores of those candidates that count.
  void append_lows(std::int64_t target, std::vector<float>& lows) const {
    for (const Candidate& candidate : pending_[static_cast<std::size_t>(target)]) {
      if (candidate.counts) lows.push_back(candidate.upper - search_.width);
    }
    for (const Scored& pair : scored_[static_cast<std::size_t>(target)]) {
      lows.push_back(rounded_down(pair.score));
    }
  }
  // The candidates that may reach the threshold, scored.
  void append_scored(std::int64_t target, std::vector<Scored>& scored) const {
    const std::vector<Scored>& before = scored_[static_cast<std::size_t>(target)];
    scored.insert(scored.end(), before.begin(), before.end());
    const float threshold = search_.threshold_of(target);
    for (const Candidate& candidate : pending_[static_cast<std::size_t>(target)]) {
      if (candidate.upper >= threshold) search_.append(target, candidate.row, scored);
    }
  }

 private:
  // One modality of a block of rows.
  struct Side {
    Side(RowVector (*part_)(const StreamRow&), const std::vector<float>& targets_,
         const ProductPanels& panels_, float error_, const Kernel& kernel)
        : part(part_),
          targets(targets_),
          panels(panels_),
          error(error_),
          packed(panels_.depth(), kernel),
          cosines(static_cast<std::size_t>(kProductRows * panels_.padded())) {}

    const float* row(std::int64_t place) const noexcept {
      return cosines.data() + place * panels.padded();
    }

    RowVector (*const part)(const StreamRow&);
    const std::vector<float>& targets;  // unit vectors
    const ProductPanels& panels;
    const float error;
    PackedRows packed;
    std::vector<float> cosines;  // [kProductRows, padded targets]
  };

  void multiply(std::int64_t begin, std::int64_t end, Side& side) {
    const std::int64_t depth = side.panels.depth();
    for (std::int64_t r = begin; r < end; ++r) {
      search_.write_unit(side.part(search_.rows[static_cast<std::size_t>(r)]), depth,
                         units_.data() + (r - begin) * depth);
    }
    side.packed.pack(units_.data(), end - begin);
    side.panels.multiply(side.packed.data(), side.packed.tiles(), side.cosines.data());
  }

  // The most that a pair can score for one of its cosines, whatever the other is.
  float most(float cosine, float error) const noexcept {
    return (search_.rules.signed_products ? std::abs(cosine) : cosine) + error;
  }

  // The targets that a row may be of use to by one cosine.
  int count_reaching(const float* cosines, float error) const noexcept {
    int hits = 0;
    if (search_.rules.signed_products) {
      for (std::size_t t = 0; t < thresholds_.size(); ++t) {
        hits += std::abs(cosines[t]) + error >= thresholds_[t] ? 1 : 0;
      }
    } else {
      for (std::size_t t = 0; t < thresholds_.size(); ++t) {
        hits += cosines[t] + error >= thresholds_[t] ? 1 : 0;
      }
    }
    return hits;
  }

  // The share of the pairs of a block that may reach the threshold by this modality alone.
  double reaching(const Side& side, std::int64_t rows) const noexcept {
    std::int64_t hits = 0;
    for (std::int64_t r = 0; r < rows; ++r) hits += count_reaching(side.row(r), side.error);
    return static_cast<double>(hits) / static_cast<double>(rows * search_.targets);
  }

  // Of a block where `first` is multiplied first, and this share of its pairs reaches the
  // threshold.
  static double work(const Side& first, double share, const Side& second) noexcept {
    return static_cast<double>(first.panels.depth()) +
           std::min(kPairCost * share, 1.0) * static_cast<double>(second.panels.depth());
  }

  // As sift(), of the first modality's cosines; computes others only where they matter.
  void sift_by_first(std::uint32_t row, const float* cosines) {
    int hits = count_reaching(cosines, first_->error);
    const bool image_first = first_ == &image_;
    const std::int64_t depth = second_->panels.depth();
    bool written = false;
    for (std::size_t t = 0; hits > 0 && t < thresholds_.size(); ++t) {
      if (!(most(cosines[t], first_->error) >= thresholds_[t])) continue;
      --hits;
      if (row == t) continue;
      if (!written) search_.write_unit(second_->part(search_.rows[row]), depth, units_.data());
      written = true;
      // Its error is that of the products of blocks: product_error() holds for any order.
      const float other = search_.kernel.dot_short(
          second_->targets.data() + static_cast<std::int64_t>(t) * depth, units_.data(), depth);
      const float image = image_first ? cosines[t] : other, text = image_first ? other : cosines[t];
      const float upper = upper_of(image, text);
      if (upper >= thresholds_[t]) take(row, t, image, text, upper);
    }
  }

  float upper_of(float image, float text) const noexcept {
    return search_.rules.signed_products
               ? image * text + search_.signed_error
               : std::max(image + image_.error, 0.0F) * std::max(text + text_.error, 0.0F);
  }

  // A pair whose bound reaches the threshold.
  void take(std::uint32_t row, std::size_t t, float image, float text, float upper) {
    const CosineBounds &images = search_.image_bounds, &texts = search_.text_bounds;
    if (row == t || image > images.surely_above || text > texts.surely_above) return;
    const bool counts = image < images.surely_below && text < texts.surely_below;
    std::vector<Candidate>& pending = pending_[t];
    if (pending.capacity() == 0) pending.reserve(most_);
    pending.push_back({upper, row, counts});
    if (pending.size() == most_) shrink(t);
  }

  // The targets that one row may be of use to.
  void sift(std::uint32_t row, const float* image, const float* text) {
    const auto targets = thresholds_.size();
    const float image_error = image_.error, text_error = text_.error;
    int hits = 0;
    if (search_.rules.signed_products) {
      for (std::size_t t = 0; t < targets; ++t) {
        uppers_[t] = image[t] * text[t] + search_.signed_error;
        hits += uppers_[t] >= thresholds_[t] ? 1 : 0;
      }
    } else {
      for (std::size_t t = 0; t < targets; ++t) {
        uppers_[t] = std::max(image[t] + image_error, 0.0F) * std::max(text[t] + text_error, 0.0F);
        hits += uppers_[t] >= thresholds_[t] ? 1 : 0;
      }
    }
    for (std::size_t t = 0; hits > 0; ++t) {
      if (!(uppers_[t] >= thresholds_[t])) continue;
      --hits;
      take(row, t, image[t], text[t], uppers_[t]);
    }
  }

  // Makes room: by a higher threshold, and where bounds are too close to each other by scores.
  void shrink(std::size_t t) {
    const auto target = static_cast<std::int64_t>(t);
    std::vector<Candidate>& pending = pending_[t];
    lows_.clear();
    append_lows(target, lows_);
    search_.raise_threshold(target, lows_);
    thresholds_[t] = search_.threshold_of(target);
    std::erase_if(pending, [&](const Candidate& c) { return c.upper < thresholds_[t]; });
    if (pending.size() <= most_ / 2) return;

    std::vector<Scored>& scored = scored_[t];
    for (const Candidate& candidate : pending) search_.append(target, candidate.row, scored);
    pending.clear();
    if (static_cast<std::int64_t>(scored.size()) <= search_.k) return;
    std::nth_element(scored.begin(), scored.begin() + search_.k - 1, scored.end(), ranks_before);
    scored.resize(static_cast<std::size_t>(search_.k));
  }

  Search& search_;
  std::vector<float> units_;  // [kProductRows, dim]
  Side image_, text_;
  Side *first_, *second_;          // in the order in which they are multiplied
  std::vector<float> thresholds_;  // [targets], the thresholds as they were lately
  std::vector<float> uppers_, lows_;
  const std::size_t most_;
  std::vector<std::vector<Candidate>> pending_;  // [targets], each at most `most_`
  std::vector<std::vector<Scored>> scored_;      // [targets], each at most k
};

// The pool of a target from what all threads found.
std::vector<Scored> pool_of(std::int64_t target, Search& search,
                            const std::vector<std::unique_ptr<Worker>>& workers) {
  std::vector<float> lows;
  for (const auto& worker : workers) {
    if (worker) worker->append_lows(target, lows);
  }
  search.raise_threshold(target, lows);
  std::vector<Scored> pool;
  for (const auto& worker : workers) {
    if (worker) worker->append_scored(target, pool);
  }
  const auto kept = std::min(search.k, static_cast<std::int64_t>(pool.size()));
  std::partial_sort(pool.begin(), pool.begin() + kept, pool.end(), ranks_before);
  pool.resize(static_cast<std::size_t>(kept));
  return pool;
}

}  // namespace

std::optional<Scored> scored_pair(const StreamRow& target, const StreamRow& row,
                                  const StreamDimensions& dimensions, const Rules& rules,
                                  const Kernel& kernel) {
  const Evaluation evaluated =
      evaluate(rules, {cosine(image_of(target), image_of(row), dimensions.image, kernel),
                       cosine(text_of(target), text_of(row), dimensions.text, kernel)});
  if (evaluated.target != Verdict::kept || evaluated.score <= rules.min_score) return {};
  return Scored{evaluated.score, row.id};
}

void write_pool(const std::vector<Scored>& pool, std::int64_t target, HardPairBand& band) {
  for (std::size_t rank = 0; rank < pool.size(); ++rank) {
    const std::size_t to = static_cast<std::size_t>(target * band.k) + rank;
    band.ids[to] = pool[rank].id;
    band.scores[to] = static_cast<float>(pool[rank].score);
  }
  band.counts[static_cast<std::size_t>(target)] = static_cast<std::int32_t>(pool.size());
}

HardPairBand search_stream(std::span<const StreamRow> rows, std::int64_t targets, std::int64_t k,
                           const StreamDimensions& dimensions, const Rules& rules,
                           const Kernel& kernel, Team& team) {
  HardPairBand band = make_band(0, targets, k);
  if (targets == 0) return band;
  Search search(rows, targets, k, dimensions, rules, kernel);
  std::vector<std::unique_ptr<Worker>> workers(static_cast<std::size_t>(team.size()));
  team.for_blocks(static_cast<std::int64_t>(rows.size()), kProductRows,
                  [&](std::int64_t begin, std::int64_t end, int number) {
                    auto& worker = workers[static_cast<std::size_t>(number)];
                    if (!worker) worker = std::make_unique<Worker>(search);
                    worker->search(begin, end);
                    team.add_work(end - begin);
                  });
  team.for_blocks(targets, 4, [&](std::int64_t target, std::int64_t end, int) {
    for (; target < end; ++target) {
      write_pool(pool_of(target, search, workers), target, band);
    }
  });
  return band;
}

}  // namespace helip::mining
