#include "mine/corpus/corpus.h"

#include <utility>

#include "base/counter_random.h"
#include "mine/corpus/scorer.h"

namespace helip::mining {

namespace {

// Names of rows in messages.
struct Names {
  const char *image, *text;
};
constexpr Names kNames{"image", "text"};
constexpr Names kQueryNames{"query image", "query text"};
constexpr Names kCorpusNames{"corpus image", "corpus text"};

}  // namespace

Corpus::Corpus(const MatrixView& image, const MatrixView& text, const Rules& rules,
               const Kernel& kernel, const NegativesInput* queries)
    : rules_(rules),
      kernel_(kernel),
      size_((rules.use_image ? image.rows : text.rows) + (queries == nullptr ? 0
                                                          : rules.use_image
                                                              ? queries->query_image.rows
                                                              : queries->query_text.rows)),
      queries_(queries == nullptr ? 0 : size_ - (rules.use_image ? image.rows : text.rows)),
      relative_margin_(queries == nullptr ? std::nullopt : queries->relative_margin) {
  if (queries == nullptr) {
    if (rules_.use_image) image_.emplace(kNames.image, image, kernel);
    if (rules_.use_text) text_.emplace(kNames.text, text, kernel);
    return;
  }
  if (rules_.use_image) {
    image_.emplace(kQueryNames.image, queries->query_image, kCorpusNames.image, image, kernel);
  }
  if (rules_.use_text) {
    text_.emplace(kQueryNames.text, queries->query_text, kCorpusNames.text, text, kernel);
  }
  const Positives& given = queries->positives;
  if (given.begins.empty()) return;
  positive_begins_.push_back(0);
  for (std::size_t query = 0; query + 1 < given.begins.size(); ++query) {
    for (std::int64_t i = given.begins[query]; i < given.begins[query + 1]; ++i) {
      positives_.push_back(
          static_cast<std::uint32_t>(queries_ + given.rows[static_cast<std::size_t>(i)]));
    }
    const auto own = positives_.begin() + static_cast<std::ptrdiff_t>(positive_begins_.back());
    std::sort(own, positives_.end());
    positives_.erase(std::unique(own, positives_.end()), positives_.end());
    positive_begins_.push_back(positives_.size());
  }
}

void Corpus::measure(Team& team, RowLengths known) {
  team.begin_stage("check", size_, size_ * ((image_ ? 1 : 0) + (text_ ? 1 : 0)));
  if (image_) image_->measure(team, std::move(known.image));
  if (text_) text_->measure(team, std::move(known.text));
  if (relative_margin_) {
    most_.assign(static_cast<std::size_t>(queries_), std::numeric_limits<double>::infinity());
    team.for_blocks(queries_, 64, [&](std::int64_t begin, std::int64_t end, int) {
      Scorer scorer(*this);
      for (std::int64_t query = begin; query < end; ++query) {
        double& most = most_[static_cast<std::size_t>(query)];
        for (const std::uint32_t row : positives_of(query)) {
          if (is_zero(row)) continue;  // was not embedded
          const double score = mining::evaluate(rules_, scorer.similarities(query, row)).score;
          most = std::min(most, score * (1.0 - *relative_margin_));
        }
      }
    });
  }
  team.end_stage();
}

void Corpus::require_whole() const {
  if (image_) image_->require_whole();
  if (text_) text_->require_whole();
}

bool Corpus::is_zero(std::int64_t row) const {
  return (image_ && image_->length(row) == 0.0) || (text_ && text_->length(row) == 0.0);
}

Rules rules_of(const MineOptions& options) noexcept {
  Rules rules;
  rules.use_image = options.modality != Modality::text;
  rules.use_text = options.modality != Modality::image;
  rules.signed_products = options.signed_products;
  if (rules.use_image) rules.image_max = options.image_max;
  if (rules.use_text) rules.text_max = options.text_max;
  rules.min_score = options.min_score;
  rules.use_margin = options.margin.has_value();
  rules.margin = options.margin.value_or(0.0);
  return rules;
}

Evaluation evaluate(const Rules& rules, const Similarities& found) noexcept {
  const auto [image, text] = found;
  const bool clamped = !rules.signed_products && (image < 0.0 || text < 0.0);
  Evaluation evaluated{clamped ? 0.0 : image * text, Verdict::kept, Verdict::kept};
  if (image > rules.image_max) {
    evaluated.target = evaluated.candidate = Verdict::image_duplicate;
  } else if (text > rules.text_max) {
    evaluated.target = evaluated.candidate = Verdict::text_duplicate;
  }
  return evaluated;
}

namespace {

using random::mix64;
using random::SplitMix64;

// Uniform over 0 .. bound - 1, up to a bias of bound / 2^64.
std::uint64_t below(std::uint64_t random, std::uint64_t bound) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>(static_cast<Wide>(random) * bound >> 64);
}

}  // namespace

std::vector<std::uint32_t> draw_rows(std::int64_t rows, std::int64_t count, std::uint64_t seed,
                                     std::uint64_t stream) {
  std::vector<std::uint32_t> drawn;
  drawn.reserve(static_cast<std::size_t>(count));
  constexpr std::uint64_t kIncrement = SplitMix64::kIncrement;
  SplitMix64 bits(mix64(mix64(seed + kIncrement) ^ (stream + kIncrement)));
  auto wanted = static_cast<std::uint64_t>(count);
  for (std::int64_t row = 0; row < rows && wanted > 0; ++row) {
    if (below(bits.next(), static_cast<std::uint64_t>(rows - row)) < wanted) {
      drawn.push_back(static_cast<std::uint32_t>(row));
      --wanted;
    }
  }
  return drawn;
}

}  // namespace helip::mining
