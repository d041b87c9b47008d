// Batches made of communities of hard pairs, as B3 does with parts of a graph (arXiv 2505.11293);
// here a community is a random row with rows of its pool, so that each epoch has others.
#include <cmath>
#include <utility>
#include <vector>

#include "base/refuse.h"
#include "load/communities.h"
#include "load/epoch.h"
#include "load/hardness_schedule.h"
#include "load/strategy_shared.h"

namespace helip::load {
namespace {

// `plain` evenly among `order`.
CommunityOrder mixed(CommunityOrder order, const std::vector<std::int64_t>& plain) {
  if (plain.empty()) return order;
  const std::size_t all = order.rows.size() + plain.size();
  CommunityOrder result;
  result.rows.reserve(all);
  result.communities.reserve(all);
  std::size_t next = 0;
  for (std::size_t place = 0; place < all; ++place) {
    const std::size_t due = (place + 1) * plain.size() / all;  // plain rows up to this place
    if (due > next) {
      result.rows.push_back(plain[next++]);
      result.communities.push_back(-1);
    } else {
      result.rows.push_back(order.rows[place - next]);
      result.communities.push_back(order.communities[place - next]);
    }
  }
  return result;
}

class InCommunities final : public Arranged {
 public:
  InCommunities(const BatchOptions& options, const PairSource& pairs, const RowGroups& groups)
      : Arranged(options, pairs), groups_(groups) {
    if (options.community_rows < 2) {
      refuse("community_rows = ", options.community_rows, " must be at least 2");
    }
    if (has_schedule(options)) check_schedule(options, pairs.k());
  }

  // The same for a whole epoch, which is put in order at its start.
  Hardness hardness(double epochs) const noexcept override {
    return has_schedule(options()) ? scheduled_hardness(options(), pairs().k(), std::floor(epochs))
                                   : hardness_at_start(options(), pairs().k());
  }

  Hardness deepest() const noexcept override {
    return has_schedule(options()) ? deepest_hardness(options(), pairs().k())
                                   : hardness_at_start(options(), pairs().k());
  }

  std::vector<std::int32_t> arrange(std::vector<std::int64_t>& targets,
                                    const EpochRandom& random) const override {
    const Hardness now = hardness(static_cast<double>(random.epoch));
    std::vector<std::int64_t> plain;
    std::vector<std::int64_t> grouped;
    for (const std::int64_t row : targets) {
      const bool is_plain = random.of(Purpose::fraction, row).unit() >= now.fraction;
      (is_plain ? plain : grouped).push_back(row);
    }
    shuffle_rows(plain, random.of(Purpose::plain_order));
    CommunityOrder order =
        mixed(arrange_communities(grouped, pairs(), groups_,
                                  {options().community_rows, now.rank_min, now.rank_max}, random),
              plain);
    targets = std::move(order.rows);
    return std::move(order.communities);
  }

 private:
  const RowGroups& groups_;
};

}  // namespace

std::unique_ptr<Strategy> make_communities(const BatchOptions& options, const PairSource& pairs,
                                           const RowGroups& groups) {
  return std::make_unique<InCommunities>(options, pairs, groups);
}

}  // namespace helip::load
