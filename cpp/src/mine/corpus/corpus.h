// The rows that are mined, and the rules that say which pairs of them are hard.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/team.h"
#include "helip/matrix.h"
#include "helip/mine_options.h"
#include "helip/negatives_input.h"
#include "mine/corpus/rows.h"
#include "mine/kernel/kernel.h"

namespace helip::mining {

struct Rules {
  bool use_image = true;
  bool use_text = true;
  bool signed_products = false;
  double image_max = 1.0;  // 1 drops nothing: cosines are limited to [-1, 1]
  double text_max = 1.0;
  double min_score = 0.0;
  bool use_margin = false;
  double margin = 0.0;
  // Of named channels in place of both modalities.
  bool sum = false;
  std::vector<ChannelRule> channels = {};
};

Rules rules_of(const MineOptions& options);

// Whether a pair counts as hard, or the first filter that keeps it out.
enum class Verdict : std::uint8_t {
  kept,
  image_duplicate,
  text_duplicate,
  margin,
  collapsed,
  positive,            // of queries: a positive of the query
  positive_duplicate,  // of queries: a near duplicate of one
  duplicate            // of named channels: above the maximum of one
};
inline constexpr int kVerdicts = 8;

struct Similarities {
  double image, text;  // 1 for a modality that is not used
};

// Of the channels of a corpus, in their order.
using ChannelSimilarities = std::array<double, kMostChannels>;

// A pair of a target and a candidate, seen from both.
struct Evaluation {
  double score;  // product of the similarities, before any filter; at most 0: no hard pair
  Verdict target;
  Verdict candidate;  // the verdict when the roles are exchanged
};

// What the rules say of a pair by its similarities alone, so without the margin.
Evaluation evaluate(const Rules& rules, const Similarities& found) noexcept;

struct Scored {
  double score;
  std::int64_t id;
};

// Falling score, rising id: the order of a pool.
inline bool ranks_before(const Scored& a, const Scored& b) noexcept {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// Puts one where it belongs among the k best.
inline void insert_ranked(std::vector<Scored>& best, const Scored& next, std::int64_t k) {
  const bool full = static_cast<std::int64_t>(best.size()) == k;
  if (full && !ranks_before(next, best.back())) return;
  if (full) best.pop_back();
  best.insert(std::upper_bound(best.begin(), best.end(), next, ranks_before), next);
}

// The rows that are mined: of both modalities, or of the channels that options name in place of
// them.
struct Matrices {
  MatrixView image, text;
  std::vector<MatrixView> channels = {};
};

// Of the rows of each channel, see Rows::measure(); empty: none are known.
using RowLengths = std::vector<std::vector<double>>;

// What mining reads: the rules and the rows of the channels that they use, of image and text those
// that are used unless others are named. Immutable once measured; safe to share between threads.
//
// With queries, rows 0 .. queries() - 1 are those, which are targets alone, and what follows are
// the rows that are candidates alone. Without, each row is both.
class Corpus {
 public:
  // Validated; `queries` nullptr for none.
  Corpus(const Matrices& matrices, const Rules& rules, const Kernel& kernel,
         const NegativesInput* queries = nullptr);
  Corpus(const MatrixView& image, const MatrixView& text, const Rules& rules, const Kernel& kernel)
      : Corpus(Matrices{image, text}, rules, kernel) {}

  // Measures the rows of all channels, but for those that are known, in stage "check".
  void measure(Team& team, RowLengths known = {});

  // Throws corrupt where a file of the rows became shorter while they were read.
  void require_whole() const;

  std::int64_t size() const noexcept { return size_; }
  std::int64_t queries() const noexcept { return queries_; }
  std::int64_t targets() const noexcept { return queries_ > 0 ? queries_ : size_; }
  std::int64_t candidate_rows() const noexcept { return size_ - queries_; }
  // Rows that a target is compared with.
  std::int64_t candidates() const noexcept { return candidate_rows() - (queries_ > 0 ? 0 : 1); }
  bool is_candidate(std::int64_t row) const noexcept { return row >= queries_; }
  bool has_positives() const noexcept { return !positives_.empty(); }
  // Of a query and all that are equal to it, ascending rows of this corpus.
  std::span<const std::uint32_t> positives_of(std::int64_t query) const noexcept {
    if (positive_lists_.empty()) return {};
    const std::size_t list = positive_lists_[static_cast<std::size_t>(query)];
    const std::size_t begin = positive_begins_[list];
    return std::span(positives_).subspan(begin, positive_begins_[list + 1] - begin);
  }
  // Queries that share their positives with an equal one.
  std::int64_t equal_queries() const noexcept { return equal_queries_; }
  // A candidate of this query that scores more is too close, see NegativesInput::relative_margin.
  // Known once measured.
  double most(std::int64_t query) const noexcept {
    return most_.empty() ? std::numeric_limits<double>::infinity()
                         : most_[static_cast<std::size_t>(query)];
  }
  const Rules& rules() const noexcept { return rules_; }
  const Kernel& kernel() const noexcept { return kernel_; }
  struct Channel {
    Rows rows;
    double maximum;
    double weight;
    Verdict duplicate;  // of a pair above the maximum
  };
  const std::vector<Channel>& channels() const noexcept { return channels_; }
  // Sum of the weights; 1 where the score is their mean.
  double total_weight() const noexcept { return total_weight_; }
  const Rows* image() const noexcept { return at(image_); }  // nullptr: not used
  const Rows* text() const noexcept { return at(text_); }
  std::int64_t image_dimensions() const noexcept { return dimensions_of(image()); }
  std::int64_t text_dimensions() const noexcept { return dimensions_of(text()); }
  std::int64_t dimensions() const noexcept;  // of all channels
  // Whether a channel has no direction for this row: it scores 0 with every other.
  bool is_zero(std::int64_t row) const;
  // What the rules say of a pair by its similarities alone, so without the margin.
  Evaluation evaluate(const ChannelSimilarities& found) const noexcept;

 private:
  const Rows* at(int channel) const noexcept {
    return channel < 0 ? nullptr : &channels_[static_cast<std::size_t>(channel)].rows;
  }
  void add_channels(const std::vector<MatrixView>& matrices);
  void add_positives(const NegativesInput& given);
  static std::int64_t dimensions_of(const Rows* rows) noexcept {
    return rows == nullptr ? 0 : rows->dimensions();
  }

  const Rules rules_;
  const Kernel& kernel_;
  const std::int64_t size_;
  const std::int64_t queries_;
  std::vector<Channel> channels_;
  double total_weight_ = 0.0;
  int image_ = -1, text_ = -1;                 // channels
  std::vector<std::uint32_t> positive_lists_;  // of each query, empty: there are none
  std::vector<std::size_t> positive_begins_;   // of each list, and the end
  std::vector<std::uint32_t> positives_;
  std::int64_t equal_queries_ = 0;
  const std::optional<double> relative_margin_;
  std::vector<double> most_;  // [queries], empty: no margin
};

// `count` of the rows 0 .. rows - 1, each subset equally likely, in ascending order. `stream`
// tells apart the draws of one seed. Time in proportion to `rows` (selection sampling: Knuth, The
// Art of Computer Programming, volume 2, 3.4.2, algorithm S).
std::vector<std::uint32_t> draw_rows(std::int64_t rows, std::int64_t count, std::uint64_t seed,
                                     std::uint64_t stream);

}  // namespace helip::mining
