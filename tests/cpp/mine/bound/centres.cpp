// Centres that are close to each other, against all of them looked through one by one.
#include "mine/bound/centres.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "support/mine_reference.h"

using namespace helip;
using namespace helip::mining;
using namespace helip::testing;

namespace {

constexpr std::int64_t kWidth = 24;

// Unit vectors, some close to each other.
std::vector<float> unit_vectors(std::int64_t count, std::int64_t groups) {
  const std::vector<double> values = clustered_values(count, kWidth, groups, 0.5, 3);
  std::vector<float> units;
  for (std::int64_t c = 0; c < count; ++c) {
    const double* row = values.data() + c * kWidth;
    const double length = std::sqrt(std::inner_product(row, row + kWidth, row, 0.0));
    for (std::int64_t d = 0; d < kWidth; ++d) units.push_back(static_cast<float>(row[d] / length));
  }
  return units;
}

double product(const std::vector<float>& units, std::int64_t a, std::int64_t b, bool absolute) {
  double sum = 0.0;
  for (std::int64_t d = 0; d < kWidth; ++d) {
    sum += static_cast<double>(units[static_cast<std::size_t>(a * kWidth + d)]) *
           units[static_cast<std::size_t>(b * kWidth + d)];
  }
  return absolute ? std::abs(sum) : sum;
}

// Of one vector with all, the greatest first.
std::vector<double> products(const std::vector<float>& units, std::int64_t own, bool absolute) {
  const auto count = static_cast<std::int64_t>(units.size()) / kWidth;
  std::vector<double> all;
  for (std::int64_t other = 0; other < count; ++other) {
    all.push_back(product(units, own, other, absolute));
  }
  std::sort(all.begin(), all.end(), std::greater<>());
  return all;
}

}  // namespace

TEST_CASE("the nearest centres are those of largest product, itself first", "[centres]") {
  SilentTeam silent;
  constexpr std::int64_t kCentres = 300, kCount = 7;
  const std::vector<float> centres = unit_vectors(kCentres, 20);
  for (const Kernel* kernel : available_kernels()) {
    for (const bool absolute : {false, true}) {
      INFO(kernel->name << ", absolute " << absolute);
      const auto near = nearest_centres(centres, kCentres, kCount, absolute, *kernel, silent.team);
      REQUIRE(near.size() == kCentres);
      for (std::int64_t c = 0; c < kCentres; ++c) {
        const auto& own = near[static_cast<std::size_t>(c)];
        REQUIRE(own.size() == kCount);
        REQUIRE(own.front() == c);
        const std::vector<double> all = products(centres, c, absolute);
        for (std::size_t rank = 0; rank < own.size(); ++rank) {
          REQUIRE(std::abs(product(centres, c, own[rank], absolute) - all[rank]) < 1e-5);
        }
      }
    }
  }
}

TEST_CASE("of very many centres most of the nearest are found, each once", "[centres]") {
  SilentTeam silent, one(1);
  constexpr std::int64_t kCentres = kMostCentresAtOnce + 200, kCount = 20;
  const std::vector<float> centres = unit_vectors(kCentres, 400);
  const Kernel& kernel = select_kernel();
  for (const bool absolute : {false, true}) {
    INFO("absolute " << absolute);
    const auto near = nearest_centres(centres, kCentres, kCount, absolute, kernel, silent.team);
    REQUIRE(nearest_centres(centres, kCentres, kCount, absolute, kernel, one.team) == near);
    REQUIRE(near.size() == kCentres);
    std::int64_t found = 0, looked_at = 0;
    for (std::int64_t c = 0; c < kCentres; ++c) {
      const auto& own = near[static_cast<std::size_t>(c)];
      REQUIRE(own.size() == kCount);
      REQUIRE(own.front() == c);
      std::vector<std::uint32_t> sorted = own;
      std::sort(sorted.begin(), sorted.end());
      REQUIRE(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
      if (c % 20 != 0) continue;
      const double least = products(centres, c, absolute)[kCount - 1] - 1e-5;
      for (const std::uint32_t other : own) {
        found += product(centres, c, other, absolute) >= least ? 1 : 0;
        ++looked_at;
      }
    }
    INFO(found << " of " << looked_at);
    REQUIRE(5 * found >= 4 * looked_at);
  }
}

TEST_CASE("centres in groups of very different sizes find as many as were asked for", "[centres]") {
  SilentTeam silent;
  constexpr std::int64_t kCentres = kMostCentresAtOnce + 200, kCount = 60;
  // Some become a group each, and the others a group that is far from them.
  std::vector<float> centres = unit_vectors(kCentres, kCentres);
  const auto groups = std::llround(std::sqrt(static_cast<double>(kCentres)));
  std::vector<bool> alone(kCentres);
  for (std::int64_t g = 0; g < groups; ++g)
    alone[static_cast<std::size_t>(g * kCentres / groups)] = true;
  for (std::int64_t c = 0; c < kCentres; ++c) {
    float* centre = centres.data() + c * kWidth;
    if (!alone[static_cast<std::size_t>(c)]) std::fill_n(centre, kWidth, 0.0F);
    centre[0] = alone[static_cast<std::size_t>(c)] ? 1.0F : -1.0F;
    const float length = std::sqrt(std::inner_product(centre, centre + kWidth, centre, 0.0F));
    for (std::int64_t d = 0; d < kWidth; ++d) centre[d] /= length;
  }
  const auto near = nearest_centres(centres, kCentres, kCount, false, select_kernel(), silent.team);
  for (const auto& own : near) {
    std::vector<std::uint32_t> sorted = own;
    std::sort(sorted.begin(), sorted.end());
    REQUIRE(sorted.size() == kCount);
    REQUIRE(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
  }
}
