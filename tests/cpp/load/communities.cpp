#include "load/communities.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include "support/batch_samples.h"

namespace helip::load {
namespace {

using test::groups_of_rows;
using test::ring;
using test::table;

std::vector<std::int64_t> all_rows(std::int64_t count) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(count));
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

CommunityOrder ordered(const HardPairs& pairs, CommunityOptions options,
                       const RowGroups& groups = {}, EpochRandom random = {}) {
  if (options.rank_max == 0) options.rank_max = pairs.k();
  return arrange_communities(all_rows(pairs.size()), PairSource(pairs), groups, options, random);
}

std::vector<std::int64_t> arranged(const HardPairs& pairs, CommunityOptions options,
                                   const RowGroups& groups = {}, EpochRandom random = {}) {
  return ordered(pairs, options, groups, random).rows;
}

bool is_permutation_of_all(std::vector<std::int64_t> rows, std::int64_t count) {
  std::sort(rows.begin(), rows.end());
  return rows == all_rows(count);
}

}  // namespace

TEST_CASE("communities are the groups of the table, where it has groups of that size",
          "[communities]") {
  const auto order = arranged(groups_of_rows(30, 16), {.rows = 16});
  REQUIRE(is_permutation_of_all(order, 480));
  std::vector<std::int64_t> groups;  // in the order of their communities
  for (std::size_t first = 0; first < order.size(); first += 16) {
    groups.push_back(order[first] % 30);
    for (std::size_t i = 0; i < 16; ++i) CHECK(order[first + i] % 30 == groups.back());
  }
  CHECK_FALSE(std::is_sorted(groups.begin(), groups.end()));
}

TEST_CASE("communities have numbers in the order in which they come", "[communities]") {
  const CommunityOrder order = ordered(groups_of_rows(30, 16), {.rows = 16});
  for (std::size_t place = 0; place < order.rows.size(); ++place) {
    CHECK(order.communities[place] == static_cast<std::int32_t>(place / 16));
  }
  // Rows without a pool stay alone.
  const CommunityOrder alone = ordered(table({{}, {}, {}}, 2), {.rows = 8});
  CHECK(alone.communities == std::vector<std::int32_t>{-1, -1, -1});
}

TEST_CASE("a community goes on with the windows of its members where a window is too small",
          "[communities]") {
  // Pools of 3 in rings of 12 rows: one window gives 4 rows.
  std::vector<std::vector<std::int64_t>> pools;
  for (std::int64_t row = 0; row < 240; ++row) {
    const std::int64_t ring = row / 12 * 12;
    pools.push_back({ring + (row + 1) % 12, ring + (row + 2) % 12, ring + (row + 3) % 12});
  }
  const auto order = arranged(table(pools, 3), {.rows = 12});
  REQUIRE(is_permutation_of_all(order, 240));
  for (std::size_t first = 0; first < order.size(); first += 12) {
    for (std::size_t i = 0; i < 12; ++i) CHECK(order[first + i] / 12 == order[first] / 12);
  }
}

TEST_CASE("rows that nobody is left for join the community of a hard pair", "[communities]") {
  // A group of 8 rows, and 4 rows whose pools are its first row and who are in nobody's pool.
  std::vector<std::vector<std::int64_t>> pools(12);
  for (std::int64_t row = 0; row < 8; ++row) {
    for (std::int64_t j = 1; j < 8; ++j) {
      pools[static_cast<std::size_t>(row)].push_back((row + j) % 8);
    }
  }
  for (std::size_t row = 8; row < 12; ++row) pools[row].push_back(0);
  std::int64_t whole = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const auto order = arranged(table(pools, 7), {.rows = 8}, {}, {seed, 0});
    REQUIRE(is_permutation_of_all(order, 12));
    // One community of 12 = 3 / 2 of its rows, in whichever order it was collected.
    std::set<std::int64_t> first(order.begin(), order.begin() + 4);
    whole += *first.begin() < 8 ? 1 : 0;
  }
  CHECK(whole >= 20);  // else the loners come in any order
}

TEST_CASE("a community grows by half at most", "[communities]") {
  // 10 groups of 8 rows, each with 12 more whose pools are one row of it. The remainder is the
  // group.
  std::vector<std::vector<std::int64_t>> pools(200);
  for (std::int64_t row = 0; row < 200; ++row) {
    auto& pool = pools[static_cast<std::size_t>(row)];
    for (std::int64_t j = 1; j < 8 && row < 80; ++j) pool.push_back((row + 10 * j) % 80);
    if (row >= 80) pool.push_back(row % 10);
  }
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const auto order = arranged(table(pools, 7), {.rows = 8}, {}, {seed, 0});
    std::int64_t run = 1;
    std::int64_t longest = 1;
    for (std::size_t i = 1; i < order.size(); ++i) {
      run = order[i] % 10 == order[i - 1] % 10 ? run + 1 : 1;
      longest = std::max(longest, run);
    }
    CHECK(longest >= 10);
    CHECK(longest <= 17);  // 12, and neighbours by chance; of 20 rows otherwise
  }
}

TEST_CASE("a community holds no equal rows", "[communities]") {
  const std::int64_t rows = 300;
  RowGroups groups;  // row i equals the rows that leave the same remainder of 100
  for (std::int64_t row = 0; row <= rows; ++row) groups.offsets.push_back(row);
  for (std::int64_t row = 0; row < rows; ++row) groups.groups.push_back(row % 100);
  std::vector<std::vector<std::int64_t>> pools;
  for (std::int64_t row = 0; row < rows; ++row) {
    pools.push_back({(row + 100) % rows, (row + 200) % rows});
    for (std::int64_t j = 1; j <= 6; ++j) {
      pools.back().push_back((row / 10 * 10 + (row + j) % 10) % rows);
    }
  }
  const auto order = arranged(table(pools, 8), {.rows = 6}, groups);
  REQUIRE(is_permutation_of_all(order, rows));
  std::int64_t equal_neighbours = 0;
  for (std::size_t i = 1; i < order.size(); ++i) {
    equal_neighbours += order[i] % 100 == order[i - 1] % 100 ? 1 : 0;
  }
  CHECK(equal_neighbours <= 6);  // where a community ends and another begins
  const auto unheeded = arranged(table(pools, 8), {.rows = 6});
  std::int64_t without = 0;
  for (std::size_t i = 1; i < unheeded.size(); ++i) {
    without += unheeded[i] % 100 == unheeded[i - 1] % 100 ? 1 : 0;
  }
  CHECK(without > 3 * 6);
}

TEST_CASE("rows without hard pairs stay alone, and are not lost", "[communities]") {
  CHECK(is_permutation_of_all(
      arranged(table(std::vector<std::vector<std::int64_t>>(50), 4), {.rows = 8}), 50));
}

TEST_CASE("an epoch has communities of its own, and the same again from the same seed",
          "[communities]") {
  const auto pairs = ring(500, 20);
  const auto first = arranged(pairs, {.rows = 8}, {}, {7, 0});
  CHECK(first == arranged(pairs, {.rows = 8}, {}, {7, 0}));
  const auto second = arranged(pairs, {.rows = 8}, {}, {7, 1});
  CHECK(first != second);
  const auto neighbours = [](const std::vector<std::int64_t>& order) {
    std::set<std::pair<std::int64_t, std::int64_t>> found;
    for (std::size_t i = 1; i < order.size(); ++i)
      found.insert(std::minmax(order[i - 1], order[i]));
    return found;
  };
  const auto one = neighbours(first);
  const auto other = neighbours(second);
  std::int64_t both = 0;
  for (const auto& pair : one) both += other.contains(pair) ? 1 : 0;
  CHECK(both < 100);
}

}  // namespace helip::load
