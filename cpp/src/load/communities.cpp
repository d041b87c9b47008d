#include "load/communities.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "load/epoch.h"

namespace helip::load {
namespace {

constexpr std::int32_t kNone = -1;

class Communities {
 public:
  Communities(const PairSource& pairs, const RowGroups& groups, const CommunityOptions& options)
      : pairs_(pairs),
        groups_(groups),
        options_(options),
        waiting_(static_cast<std::size_t>(pairs.size()), false) {}

  void form(std::span<const std::int64_t> rows, const EpochRandom& random) {
    for (const std::int64_t row : rows) waiting_[static_cast<std::size_t>(row)] = true;
    std::vector<std::int64_t> centres(rows.begin(), rows.end());
    shuffle_rows(centres, random.of(Purpose::order));
    order_.reserve(rows.size());
    CounterRandom draws = random.of(Purpose::community);
    for (const std::int64_t centre : centres) {
      if (waiting_[static_cast<std::size_t>(centre)]) collect(centre, draws);
    }
    begins_.push_back(order_.size());
  }

  // Small communities are given up, and their rows join others.
  void join() {
    community_of_.assign(waiting_.size(), kNone);
    std::vector<std::int64_t> rest;
    for (std::int32_t number = 0; number < count(); ++number) {
      for (const std::int64_t row : members(number)) {
        if (is_small(number)) {
          rest.push_back(row);
        } else {
          community_of_[static_cast<std::size_t>(row)] = number;
        }
      }
    }
    joined_.resize(static_cast<std::size_t>(count()));
    for (const std::int64_t row : rest) {
      const std::int32_t number = community_with_room(row);
      if (number == kNone) {
        alone_.push_back(row);
      } else {
        joined_[static_cast<std::size_t>(number)].push_back(row);
        community_of_[static_cast<std::size_t>(row)] = number;
      }
    }
  }

  // Of all rows; communities, and rows that stayed alone, in random order.
  CommunityOrder shuffled(const EpochRandom& random) const {
    std::vector<std::int64_t> parts;  // a community's number, or beyond them a row that is alone
    for (std::int32_t number = 0; number < count(); ++number) {
      if (!is_small(number)) parts.push_back(number);
    }
    for (std::size_t i = 0; i < alone_.size(); ++i) {
      parts.push_back(count() + static_cast<std::int64_t>(i));
    }
    shuffle_rows(parts, random.of(Purpose::community_order));
    CommunityOrder order;
    order.rows.reserve(order_.size());
    order.communities.reserve(order_.size());
    std::int32_t number = 0;
    for (const std::int64_t part : parts) {
      if (part >= count()) {
        order.rows.push_back(alone_[static_cast<std::size_t>(part - count())]);
        order.communities.push_back(kNone);
        continue;
      }
      const auto own = members(static_cast<std::int32_t>(part));
      const auto& joined = joined_[static_cast<std::size_t>(part)];
      order.rows.insert(order.rows.end(), own.begin(), own.end());
      order.rows.insert(order.rows.end(), joined.begin(), joined.end());
      order.communities.resize(order.rows.size(), number++);
    }
    return order;
  }

 private:
  std::int32_t count() const noexcept { return static_cast<std::int32_t>(begins_.size()) - 1; }

  std::span<const std::int64_t> members(std::int32_t number) const {
    const auto at = static_cast<std::size_t>(number);
    return std::span(order_).subspan(begins_[at], begins_[at + 1] - begins_[at]);
  }

  bool is_small(std::int32_t number) const {
    return static_cast<std::int64_t>(members(number).size()) * 4 < options_.rows;
  }

  std::int64_t last_rank(std::int64_t row) const noexcept {
    return std::min<std::int64_t>(pairs_.count(row), options_.rank_max);
  }

  bool are_equal(std::int64_t row, std::int64_t other) const {
    const auto own = groups_.of(row);
    const auto others = groups_.of(other);
    return std::any_of(own.begin(), own.end(), [&](std::int64_t group) {
      return std::find(others.begin(), others.end(), group) != others.end();
    });
  }

  bool has_equal(std::span<const std::int64_t> rows, std::int64_t row) const {
    return !groups_.of(row).empty() &&
           std::any_of(rows.begin(), rows.end(),
                       [&](std::int64_t other) { return are_equal(row, other); });
  }

  // The centre, rows of its window, of the window of the first of these, and so on.
  void collect(std::int64_t centre, CounterRandom& draws) {
    const std::size_t begin = order_.size();
    begins_.push_back(begin);
    take(centre);
    for (std::size_t next = begin; next < order_.size() && !is_full(begin); ++next) {
      collect_window(begin, order_[next], draws);
    }
  }

  void collect_window(std::size_t begin, std::int64_t member, CounterRandom& draws) {
    window_.clear();
    for (std::int64_t rank = options_.rank_min; rank < last_rank(member); ++rank) {
      const std::int64_t row = pairs_.id(member, rank);
      if (waiting_[static_cast<std::size_t>(row)]) window_.push_back(row);
    }
    while (!window_.empty() && !is_full(begin)) {
      const auto at =
          static_cast<std::size_t>(draws.below(static_cast<std::int64_t>(window_.size())));
      std::swap(window_[at], window_.back());
      const std::int64_t row = window_.back();
      window_.pop_back();
      if (!has_equal(std::span(order_).subspan(begin), row)) take(row);
    }
  }

  bool is_full(std::size_t begin) const noexcept {
    return static_cast<std::int64_t>(order_.size() - begin) >= options_.rows;
  }

  void take(std::int64_t row) {
    waiting_[static_cast<std::size_t>(row)] = false;
    order_.push_back(row);
  }

  std::int32_t community_with_room(std::int64_t row) const {
    for (std::int64_t rank = options_.rank_min; rank < last_rank(row); ++rank) {
      const std::int32_t number = community_of_[static_cast<std::size_t>(pairs_.id(row, rank))];
      if (number == kNone) continue;
      const auto own = members(number);
      const auto& joined = joined_[static_cast<std::size_t>(number)];
      const auto size = static_cast<std::int64_t>(own.size() + joined.size());
      if (2 * size >= 3 * options_.rows) continue;
      if (!has_equal(own, row) && !has_equal(joined, row)) return number;
    }
    return kNone;
  }

  const PairSource& pairs_;
  const RowGroups& groups_;
  const CommunityOptions options_;
  std::vector<bool> waiting_;                      // [rows of the table]
  std::vector<std::int64_t> order_;                // rows, community by community
  std::vector<std::size_t> begins_;                // [communities + 1] in order_
  std::vector<std::int32_t> community_of_;         // [rows of the table]
  std::vector<std::vector<std::int64_t>> joined_;  // [communities]
  std::vector<std::int64_t> alone_;
  std::vector<std::int64_t> window_;  // of one member
};

}  // namespace

CommunityOrder arrange_communities(std::span<const std::int64_t> rows, const PairSource& pairs,
                                   const RowGroups& groups, const CommunityOptions& options,
                                   const EpochRandom& random) {
  Communities communities(pairs, groups, options);
  communities.form(rows, random);
  communities.join();
  return communities.shuffled(random);
}

}  // namespace helip::load
