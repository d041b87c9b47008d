#include "mine/corpus/scorer.h"

#include <algorithm>
#include <utility>

namespace helip::mining {

Scorer::Scorer(const Corpus& corpus, std::size_t recent)
    : corpus_(corpus),
      recent_(corpus.channels().size(), RecentRows(recent)),
      positives_(corpus.channels().size(), RecentRows(1)) {}

ChannelSimilarities Scorer::similarities(std::int64_t target, std::int64_t candidate) {
  // Either may be the row that comes again and again, and is worth keeping.
  if (candidate == loaded_ || (target != loaded_ && candidate == last_candidate_)) {
    std::swap(target, candidate);
  } else {
    last_candidate_ = candidate;
  }
  loaded_ = target;
  ChannelSimilarities found;
  const auto& channels = corpus_.channels();
  for (std::size_t c = 0; c < channels.size(); ++c) {
    found[c] = recent_[c].cosine(channels[c].rows, target, candidate);
  }
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
  Evaluation evaluated = corpus_.evaluate(similarities(target, candidate));
  // A cosine of 0 does not tell, and a mean of others could be more.
  if (rules.sum && (corpus_.is_zero(target) || corpus_.is_zero(candidate))) evaluated.score = 0.0;
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
  for (const std::uint32_t positive : positives) {
    for (std::size_t c = 0; c < corpus_.channels().size(); ++c) {
      const Corpus::Channel& channel = corpus_.channels()[c];
      if (channel.maximum < 1.0 &&
          positives_[c].cosine(channel.rows, candidate, positive) > channel.maximum) {
        return Verdict::positive_duplicate;
      }
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
