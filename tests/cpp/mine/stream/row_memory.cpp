#include "mine/stream/row_memory.h"

#include <catch2/catch_test_macros.hpp>

namespace helip::mining {

TEST_CASE("the oldest row leaves, and one that comes again is the newest", "[row_memory]") {
  RowMemory memory(1, 1, 3);
  const auto put = [&](std::int64_t id, float value) {
    const StreamRow row{id, &value, &value, 1.0, 1.0};
    memory.put({&row, 1});
  };
  for (const std::int64_t id : {0, 1, 2, 0, 3}) put(id, static_cast<float>(id));
  std::vector<std::int64_t> ids;
  memory.visit([&](const StreamRow& row) {
    ids.push_back(row.id);
    CHECK(row.image[0] == static_cast<float>(row.id));
  });
  CHECK(ids == std::vector<std::int64_t>{2, 0, 3});
  CHECK(!memory.holds(1));
}

TEST_CASE("rows come as one, also where a batch is larger than the memory", "[row_memory]") {
  RowMemory memory(1, 1, 3);
  const std::vector<float> values{0, 1, 2, 3, 4};
  const auto put = [&](const std::vector<std::int64_t>& ids) {
    std::vector<StreamRow> rows;
    for (const std::int64_t id : ids) {
      const float* const value = &values[static_cast<std::size_t>(id)];
      rows.push_back({id, value, value, 1.0, 1.0});
    }
    memory.put(rows);
    std::vector<std::int64_t> found;
    memory.visit([&](const StreamRow& row) {
      found.push_back(row.id);
      CHECK(row.image[0] == static_cast<float>(row.id));
      CHECK(memory.holds(row.id));
    });
    return found;
  };
  CHECK(put({0, 1, 2}) == std::vector<std::int64_t>{0, 1, 2});
  // Row 0 leaves for 3 before it comes again itself.
  CHECK(put({3, 4, 0}) == std::vector<std::int64_t>{3, 4, 0});
  CHECK(put({0, 1, 2, 3, 4}) == std::vector<std::int64_t>{2, 3, 4});
  CHECK(!memory.holds(0));
}

}  // namespace helip::mining
