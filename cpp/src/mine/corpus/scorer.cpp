#include "mine/corpus/scorer.h"

#include <algorithm>
#include <utility>

namespace helip::mining {

Scorer::Scorer(const Corpus& corpus, std::size_t recent)
    : corpus_(corpus), image_(recent), text_(recent) {}

Similarities Scorer::similarities(std::int64_t target, std::int64_t candidate) {
  // Either may be the row that comes again and again, and is worth keeping.
  if (candidate == loaded_ || (target != loaded_ && candidate == last_candidate_)) {
    std::swap(target, candidate);
  } else {
    last_candidate_ = candidate;
  }
  loaded_ = target;
  Similarities found{1.0, 1.0};
  if (const Rows* rows = corpus_.image()) found.image = image_.cosine(*rows, target, candidate);
  if (const Rows* rows = corpus_.text()) found.text = text_.cosine(*rows, target, candidate);
  return found;
}

double Scorer::RecentRows::cosine(const Rows& rows, std::int64_t first, std::int64_t second) {
  if (first_.row != first) {
    LoadedRow& place = places_[place_of(first)];
    if (place.row != first) rows.load(first, place);
    first_.row = first;
    first_.length = place.length;
    first_.single = place.single;
    first_.uses = 0;
    if (place.single == nullptr) first_.wide = place.wide;
  }
  LoadedRow& other = place_of(second) == place_of(first) ? spare_ : places_[place_of(second)];
  if (other.row != second) rows.load(second, other);
  return rows.cosine(first_, other);
}

Evaluation Scorer::evaluate(std::int64_t target, std::int64_t candidate) {
  const Rules& rules = corpus_.rules();
  Evaluation evaluated = mining::evaluate(rules, similarities(target, candidate));
  if (rules.use_margin && evaluated.target == Verdict::kept && evaluated.score > rules.min_score) {
    const double nearest = std::max(cross(target, candidate), cross(candidate, target));
    if (nearest > cross(target, target) - rules.margin) evaluated.target = Verdict::margin;
    if (nearest > cross(candidate, candidate) - rules.margin) evaluated.candidate = Verdict::margin;
  }
  return evaluated;
}

Verdict Scorer::verdict_of(std::int64_t query, std::int64_t candidate,
                           const Evaluation& evaluated) {
  const auto positives = corpus_.positives_of(query);
  if (std::binary_search(positives.begin(), positives.end(), candidate)) return Verdict::positive;
  if (evaluated.target != Verdict::kept) return evaluated.target;
  if (evaluated.score > corpus_.most(query)) return Verdict::margin;
  const Rules& rules = corpus_.rules();
  for (const std::uint32_t positive : positives) {
    const auto is_alike = [&](const Rows* rows, RecentRows& recent, double maximum) {
      return rows != nullptr && maximum < 1.0 &&
             recent.cosine(*rows, candidate, positive) > maximum;
    };
    if (is_alike(corpus_.image(), positive_image_, rules.image_max) ||
        is_alike(corpus_.text(), positive_text_, rules.text_max)) {
      return Verdict::positive_duplicate;
    }
  }
  return Verdict::kept;
}

double Scorer::cross(std::int64_t image_row, std::int64_t text_row) {
  const Rows& image = *corpus_.image();
  const Rows& text = *corpus_.text();
  const double lengths = image.length(image_row) * text.length(text_row);
  if (lengths == 0.0) return 0.0;
  wide_image_.resize(static_cast<std::size_t>(image.dimensions()));
  wide_text_.resize(static_cast<std::size_t>(text.dimensions()));
  image.load_wide(image_row, wide_image_.data());
  text.load_wide(text_row, wide_text_.data());
  const double dot =
      corpus_.kernel().dot_double(wide_image_.data(), wide_text_.data(), image.dimensions());
  return cosine_of(dot, lengths);
}

}  // namespace helip::mining
