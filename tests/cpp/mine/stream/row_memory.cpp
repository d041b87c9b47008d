#include "mine/stream/row_memory.h"

#include <catch2/catch_test_macros.hpp>

namespace helip::mining {

TEST_CASE("the oldest row leaves, and one that comes again is the newest", "[row_memory]") {
  RowMemory memory(1, 1, 3);
  const auto put = [&](std::int64_t id, float value) {
    memory.put({id, &value, &value, 1.0, 1.0});
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

}  // namespace helip::mining
