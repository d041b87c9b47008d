#include "mine/bound/order_columns.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/checked.h"

namespace helip::mining {

void show_order(const RowOrder& order, TensorColumns& columns) {
  columns.show("order.rows", order.rows);
  columns.show("order.begins", order.begins);
  columns.show("order.centres", order.centres);
  std::vector<std::uint32_t> near;  // as many for each cluster
  for (const auto& own : order.near) near.insert(near.end(), own.begin(), own.end());
  columns.keep("order.near", std::move(near));
}

RowOrder read_order(const TensorFile& file, std::int64_t rows, std::int64_t directions) {
  RowOrder order;
  order.rows = read_column<std::uint32_t>(file, "order.rows");
  order.begins = read_column<std::int64_t>(file, "order.begins");
  order.centres = read_column<float>(file, "order.centres");
  const auto near = read_column<std::uint32_t>(file, "order.near");

  std::vector<bool> seen(static_cast<std::size_t>(rows));
  for (const std::uint32_t row : order.rows) {
    require_sound(row < seen.size() && !seen[row], "its order of rows is none");
    seen[row] = true;
  }
  require_sound(order.begins.size() >= 2 && order.begins.front() == 0 &&
                    order.begins.back() == static_cast<std::int64_t>(order.rows.size()) &&
                    std::is_sorted(order.begins.begin(), order.begins.end()),
                "its clusters are not those of an order");
  if (near.empty()) return order;
  const std::size_t clusters = order.begins.size() - 1;
  std::int64_t values = directions;
  require_sound(checked_multiply(values, static_cast<std::int64_t>(clusters)) &&
                    static_cast<std::int64_t>(order.centres.size()) == values,
                "the centres of its clusters have another length");
  require_sound(
      near.size() % clusters == 0 && *std::max_element(near.begin(), near.end()) < clusters,
      "its clusters name others that there are not");
  const auto each = static_cast<std::ptrdiff_t>(near.size() / clusters);
  for (auto own = near.begin(); own != near.end(); own += each) {
    order.near.emplace_back(own, own + each);
  }
  return order;
}

}  // namespace helip::mining
