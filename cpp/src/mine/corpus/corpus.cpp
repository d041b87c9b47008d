#include "mine/corpus/corpus.h"

#include <array>
#include <cmath>
#include <numeric>
#include <string>
#include <unordered_map>
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

std::int64_t rows_of(const Matrices& matrices, const Rules& rules) {
  if (!rules.channels.empty()) return matrices.channels.front().rows;
  return rules.use_image ? matrices.image.rows : matrices.text.rows;
}

// Queries are equal up to rounding: an encoder gives one text other last bits in another batch.
constexpr double kEqualCosine = 0.99999;
constexpr std::size_t kProjections = 4;
constexpr double kCell = 0.02;  // of a projection, whose standard deviation is 1

// Unit rows of a query in the modalities that count.
class QueryRow {
 public:
  QueryRow(const NegativesInput& given, const Rules& rules) {
    if (rules.use_image) views_.push_back(&given.query_image);
    if (rules.use_text) views_.push_back(&given.query_text);
    values_.resize(views_.size());
  }

  // False for a row of zeros in one of them, which was not embedded.
  bool read(std::int64_t query) {
    for (std::size_t side = 0; side < views_.size(); ++side) {
      std::vector<double>& values = values_[side];
      values.resize(static_cast<std::size_t>(views_[side]->cols));
      read_row(*views_[side], query, values.data());
      double most = 0.0;
      for (const double value : values) most = std::max(most, std::abs(value));
      if (most == 0.0) return false;
      double squares = 0.0;
      for (double& value : values) {
        value /= most;
        squares += value * value;
      }
      if (!std::isfinite(squares)) return false;  // measuring names the row
      for (double& value : values) value /= std::sqrt(squares);
    }
    return true;
  }

  bool equals(const QueryRow& other) const {
    for (std::size_t side = 0; side < values_.size(); ++side) {
      const std::vector<double>&own = values_[side], &theirs = other.values_[side];
      if (std::inner_product(own.begin(), own.end(), theirs.begin(), 0.0) < kEqualCosine) {
        return false;
      }
    }
    return true;
  }

  // Of cells of random projections: those of equal rows differ in both of two `grids` hardly ever.
  std::uint64_t hash(int grid) const {
    std::uint64_t found = static_cast<std::uint64_t>(grid);
    for (const std::vector<double>& values : values_) {
      std::array<double, kProjections> sums{};
      for (std::size_t j = 0; j < values.size(); ++j) {
        const std::uint64_t signs = random::mix64(j + 1);
        for (std::size_t p = 0; p < kProjections; ++p) {
          sums[p] += (signs >> p & 1) != 0 ? values[j] : -values[j];
        }
      }
      for (const double sum : sums) {
        const auto cell = static_cast<std::int64_t>(std::floor(sum / kCell + 0.5 * grid));
        found = random::mix64(found * 31 + static_cast<std::uint64_t>(cell));
      }
    }
    return found;
  }

 private:
  std::vector<const MatrixView*> views_;
  std::vector<std::vector<double>> values_;
};

// Of each query a number that equal ones share, from 0 on in the order of the first of each.
std::vector<std::uint32_t> equal_rows(const NegativesInput& given, const Rules& rules,
                                      std::int64_t queries) {
  std::vector<std::uint32_t> found(static_cast<std::size_t>(queries));
  std::vector<std::int64_t> firsts;  // of each number
  std::unordered_map<std::uint64_t, std::uint32_t> known;
  QueryRow row(given, rules), other(given, rules);
  for (std::int64_t query = 0; query < queries; ++query) {
    const auto next = static_cast<std::uint32_t>(firsts.size());
    std::uint32_t number = next;
    if (row.read(query)) {
      const std::array keys{row.hash(0), row.hash(1)};
      for (const std::uint64_t key : keys) {
        const auto place = known.find(key);
        if (place == known.end() || number != next) continue;
        if (other.read(firsts[place->second]) && row.equals(other)) number = place->second;
      }
      for (const std::uint64_t key : keys) known.try_emplace(key, number);
    }
    if (number == next) firsts.push_back(query);
    found[static_cast<std::size_t>(query)] = number;
  }
  return found;
}

}  // namespace

Corpus::Corpus(const Matrices& matrices, const Rules& rules, const Kernel& kernel,
               const NegativesInput* queries)
    : rules_(rules),
      kernel_(kernel),
      size_(rows_of(matrices, rules) +
            (queries == nullptr ? 0 : rows_of({queries->query_image, queries->query_text}, rules))),
      queries_(queries == nullptr ? 0 : size_ - rows_of(matrices, rules)),
      relative_margin_(queries == nullptr ? std::nullopt : queries->relative_margin) {
  if (!rules_.channels.empty()) {
    add_channels(matrices.channels);
    return;
  }
  const auto add = [&](const char* Names::* name, const MatrixView& view,
                       const MatrixView NegativesInput::* own, double maximum, Verdict duplicate) {
    channels_.push_back({queries == nullptr ? Rows(kNames.*name, view, kernel)
                                            : Rows(kQueryNames.*name, queries->*own,
                                                   kCorpusNames.*name, view, kernel),
                         maximum, 1.0, duplicate});
    total_weight_ += 1.0;
    return static_cast<int>(channels_.size()) - 1;
  };
  if (rules_.use_image) {
    image_ = add(&Names::image, matrices.image, &NegativesInput::query_image, rules_.image_max,
                 Verdict::image_duplicate);
  }
  if (rules_.use_text) {
    text_ = add(&Names::text, matrices.text, &NegativesInput::query_text, rules_.text_max,
                Verdict::text_duplicate);
  }
  if (queries != nullptr) add_positives(*queries);
}

void Corpus::add_positives(const NegativesInput& given) {
  const Positives& known = given.positives;
  if (known.begins.empty()) return;
  positive_lists_ = equal_rows(given, rules_, queries_);
  std::vector<std::vector<std::uint32_t>> members;
  for (std::size_t query = 0; query < positive_lists_.size(); ++query) {
    if (positive_lists_[query] == members.size()) members.emplace_back();
    members[positive_lists_[query]].push_back(static_cast<std::uint32_t>(query));
  }
  positive_begins_.push_back(0);
  for (const std::vector<std::uint32_t>& equal : members) {
    if (equal.size() > 1) equal_queries_ += static_cast<std::int64_t>(equal.size());
    for (const std::uint32_t query : equal) {
      for (std::int64_t i = known.begins[query]; i < known.begins[query + 1]; ++i) {
        positives_.push_back(
            static_cast<std::uint32_t>(queries_ + known.rows[static_cast<std::size_t>(i)]));
      }
    }
    const auto own = positives_.begin() + static_cast<std::ptrdiff_t>(positive_begins_.back());
    std::sort(own, positives_.end());
    positives_.erase(std::unique(own, positives_.end()), positives_.end());
    positive_begins_.push_back(positives_.size());
  }
}

void Corpus::add_channels(const std::vector<MatrixView>& matrices) {
  double total = 0.0;
  for (const ChannelRule& rule : rules_.channels) total += rule.weight;
  for (std::size_t c = 0; c < matrices.size(); ++c) {
    const ChannelRule& rule = rules_.channels[c];
    const double weight = rules_.sum ? rule.weight / total : rule.weight;
    channels_.push_back(
        {Rows(rule.name, matrices[c], kernel_), rule.maximum, weight, Verdict::duplicate});
  }
  total_weight_ = rules_.sum ? 1.0 : total;
}

void Corpus::measure(Team& team, RowLengths known) {
  known.resize(channels_.size());
  team.begin_stage("check", size_, size_ * static_cast<std::int64_t>(channels_.size()));
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    channels_[c].rows.measure(team, std::move(known[c]));
  }
  if (relative_margin_) {
    most_.assign(static_cast<std::size_t>(queries_), std::numeric_limits<double>::infinity());
    team.for_blocks(queries_, 64, [&](std::int64_t begin, std::int64_t end, int) {
      Scorer scorer(*this);
      for (std::int64_t query = begin; query < end; ++query) {
        double& most = most_[static_cast<std::size_t>(query)];
        for (const std::uint32_t row : positives_of(query)) {
          if (is_zero(row)) continue;  // was not embedded
          const double score = evaluate(scorer.similarities(query, row)).score;
          most = std::min(most, score * (1.0 - *relative_margin_));
        }
      }
    });
  }
  team.end_stage();
}

void Corpus::require_whole() const {
  for (const Channel& channel : channels_) channel.rows.require_whole();
}

std::int64_t Corpus::dimensions() const noexcept {
  std::int64_t dimensions = 0;
  for (const Channel& channel : channels_) dimensions += channel.rows.dimensions();
  return dimensions;
}

bool Corpus::is_zero(std::int64_t row) const {
  return std::any_of(channels_.begin(), channels_.end(),
                     [row](const Channel& channel) { return channel.rows.length(row) == 0.0; });
}

Evaluation Corpus::evaluate(const ChannelSimilarities& found) const noexcept {
  double score = rules_.sum ? 0.0 : 1.0;
  bool clamped = false;
  Verdict verdict = Verdict::kept;
  for (std::size_t c = 0; c < channels_.size(); ++c) {
    const Channel& channel = channels_[c];
    const double similarity = found[c];
    if (verdict == Verdict::kept && similarity > channel.maximum) verdict = channel.duplicate;
    if (rules_.sum) {
      score += channel.weight * similarity;
      continue;
    }
    clamped |= !rules_.signed_products && similarity < 0.0;
    score *= channel.weight == 1.0 || clamped ? similarity : std::pow(similarity, channel.weight);
  }
  return {clamped ? 0.0 : score, verdict, verdict};
}

Rules rules_of(const MineOptions& options) {
  Rules rules;
  rules.use_image = options.modality != Modality::text;
  rules.use_text = options.modality != Modality::image;
  rules.signed_products = options.signed_products;
  if (rules.use_image) rules.image_max = options.image_max;
  if (rules.use_text) rules.text_max = options.text_max;
  rules.min_score = options.min_score;
  rules.use_margin = options.margin.has_value();
  rules.margin = options.margin.value_or(0.0);
  rules.channels = options.channels;
  rules.sum = options.score == ScoreKind::sum;
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
