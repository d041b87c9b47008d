// Centres of spherical k-means (Dhillon and Modha, 2001): unit vectors, float32 [count,
// dimensions], one after the other. What is close has a large inner product.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "base/team.h"
#include "mine/kernel/product_panels.h"

namespace helip::mining {

inline constexpr int kLloydSteps = 3;
// More are looked through in groups.
inline constexpr std::int64_t kMostCentresAtOnce = 4096;
inline constexpr std::int64_t kCentreGrain = 4 * kProductRows;  // directions of a block of work

// Calls body(row, products) for each direction; it may change the products [centres.padded()].
template <typename Body>
void multiply_rows(const float* directions, std::int64_t rows, const ProductPanels& centres,
                   const Kernel& kernel, const Body& body) {
  PackedRows packed(centres.depth(), kernel);
  std::vector<float> products(static_cast<std::size_t>(kProductRows * centres.padded()));
  for (std::int64_t first = 0; first < rows; first += kProductRows) {
    const std::int64_t present = std::min(kProductRows, rows - first);
    packed.pack(directions + first * centres.depth(), present);
    centres.multiply(packed.data(), packed.tiles(), products.data());
    for (std::int64_t r = 0; r < present; ++r) {
      body(first + r, products.data() + r * centres.padded());
    }
  }
}

// For each group the points that look in it, ascending.
struct GroupVisits {
  std::vector<std::uint32_t> begins;  // [groups + 1]
  std::vector<std::uint32_t> points;

  std::span<const std::uint32_t> of(std::int64_t group) const {
    const auto at = static_cast<std::size_t>(group);
    return std::span(points).subspan(begins[at], begins[at + 1] - begins[at]);
  }
};

// `groups` [points, few]: those that each point looks in, of `count`.
GroupVisits visits_of(const std::vector<std::uint32_t>& groups, std::int64_t few,
                      std::int64_t count);

// Calls body(point, group, products) for each visit; `points` [.., depth of the panels]. All
// visitors of a group are multiplied with its centres together.
template <typename Body>
void multiply_visits(const float* points, const GroupVisits& visits,
                     const std::vector<ProductPanels>& panels, const Kernel& kernel,
                     const Body& body) {
  std::vector<float> visitors;
  for (std::size_t g = 0; g < panels.size(); ++g) {
    const std::span<const std::uint32_t> here = visits.of(static_cast<std::int64_t>(g));
    const std::int64_t depth = panels[g].depth();
    if (panels[g].count() == 0 || here.empty()) continue;
    visitors.clear();
    for (const std::uint32_t point : here) {
      visitors.insert(visitors.end(), points + point * depth, points + (point + 1) * depth);
    }
    multiply_rows(visitors.data(), static_cast<std::int64_t>(here.size()), panels[g], kernel,
                  [&](std::int64_t row, const float* products) {
                    body(here[static_cast<std::size_t>(row)], g, products);
                  });
  }
}

// The closest centre of each direction. out [rows]
void assign_closest(const float* directions, std::int64_t rows, const ProductPanels& centres,
                    const Kernel& kernel, std::uint32_t* out);

// The `count` centres closest to each direction, the closest first; by the absolute value of the
// product where `absolute`. out [rows, count]
void assign_few_closest(const float* directions, std::int64_t rows, const ProductPanels& centres,
                        std::int64_t count, bool absolute, const Kernel& kernel,
                        std::uint32_t* out);

// The same by all threads. [rows, count]
std::vector<std::uint32_t> closest_centres(const std::vector<float>& directions, std::int64_t rows,
                                           const ProductPanels& centres, std::int64_t count,
                                           const Kernel& kernel, Team& team, bool absolute);

// Puts each centre where the mean of its points is. One without points stays where it is.
void move_to_means(const std::vector<float>& points, const std::vector<std::uint32_t>& clusters,
                   std::vector<float>& centres);

// Centres of points [.., dimensions], from some of them spread evenly. [count, dimensions]
std::vector<float> fit_centres(const std::vector<float>& points, std::int64_t dimensions,
                               std::int64_t count, const Kernel& kernel, Team& team);

// For each centre the `count` closest ones, itself first. Of more than kMostCentresAtOnce some are
// missed: a centre looks at those of the groups that are closest to it, some 32 · count, so that
// the time grows with clusters^1.5 and not with their square.
std::vector<std::vector<std::uint32_t>> nearest_centres(const std::vector<float>& centres,
                                                        std::int64_t clusters, std::int64_t count,
                                                        bool absolute, const Kernel& kernel,
                                                        Team& team);

}  // namespace helip::mining
