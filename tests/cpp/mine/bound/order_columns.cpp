// An order of rows in a file, and what cannot be one.
#include "mine/bound/order_columns.h"

#include <catch2/catch_test_macros.hpp>
#include <functional>

#include "support/expect_error.h"
#include "support/temporary_folder.h"

using namespace helip;
using namespace helip::mining;

namespace {

constexpr std::int64_t kRows = 6;
constexpr std::int64_t kDirections = 2;

// Two clusters of five rows; row 3 is one of zeros.
RowOrder sample() {
  return {{4, 0, 5, 1, 2}, {0, 3, 5}, {{0, 1}, {1, 0}}, {0.5F, 1.0F, -1.0F, 0.25F}};
}

RowOrder read_back(const RowOrder& order) {
  const TemporaryFolder folder;
  TensorColumns columns;
  show_order(order, columns);
  const TensorFile file(folder / "t", write_tensors(folder / "", "t", columns.tensors()));
  return read_order(file, kRows, kDirections);
}

void refuse(const char* words, const std::function<void(RowOrder&)>& change) {
  RowOrder order = sample();
  change(order);
  expect_error(ErrorCode::corrupt, words, [&] { read_back(order); });
}

}  // namespace

TEST_CASE("an order is read as it was written, with and without clusters", "[order_columns]") {
  for (const bool clusters : {true, false}) {
    RowOrder order = sample();
    if (!clusters) order = {order.rows, {0, 5}, {}, {}};
    const RowOrder back = read_back(order);
    REQUIRE(back.rows == order.rows);
    REQUIRE(back.begins == order.begins);
    REQUIRE(back.near == order.near);
    REQUIRE(back.centres == order.centres);
  }
}

TEST_CASE("what is no order of these rows is refused", "[order_columns]") {
  const char* rows = "its order of rows is none";
  refuse(rows, [](RowOrder& order) { order.rows[2] = kRows; });
  refuse(rows, [](RowOrder& order) { order.rows[2] = order.rows[1]; });
  const char* clusters = "its clusters are not those of an order";
  refuse(clusters, [](RowOrder& order) { order.begins.resize(1); });
  refuse(clusters, [](RowOrder& order) { order.begins[0] = 1; });
  refuse(clusters, [](RowOrder& order) { order.begins[2] = 4; });
  refuse(clusters, [](RowOrder& order) { order.begins[1] = 6; });
  refuse("the centres of its clusters have another length",
         [](RowOrder& order) { order.centres.pop_back(); });
  const char* others = "its clusters name others that there are not";
  refuse(others, [](RowOrder& order) { order.near[1].pop_back(); });
  refuse(others, [](RowOrder& order) { order.near[1][1] = 2; });
}
