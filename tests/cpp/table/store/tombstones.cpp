#include "table/store/tombstones.h"

#include <catch2/catch_test_macros.hpp>
#include <stdexcept>

using namespace helip;
using json = Json;

TEST_CASE("batches are texts of ranges, and are read back") {
  Tombstones tombstones;
  CHECK(tombstones.empty());
  tombstones.add({3, 5, 6, 7, 9});
  tombstones.add({0, 1, 4});
  const json stored = tombstones.to_json();
  CHECK(stored["batches"] == json({"3,5-7,9", "0-1,4"}));
  CHECK(stored["count"] == 8);
  const Tombstones read(stored, 10);
  CHECK(read.batches() == 2);
  CHECK(read.rows() == std::vector<std::int64_t>{0, 1, 3, 4, 5, 6, 7, 9});
  CHECK(read.rows(1) == std::vector<std::int64_t>{3, 5, 6, 7, 9});
  CHECK(read.digests() == tombstones.digests());
}

TEST_CASE("digests of the first batches stay when more come, and tell batches apart") {
  Tombstones first, second, other;
  first.add({1, 2});
  second.add({1, 2});
  second.add({3});
  other.add({1});
  other.add({2, 3});
  CHECK(second.digests()[0] == first.digests()[0]);
  CHECK(second.digests()[1] != other.digests()[1]);
}

TEST_CASE("garbled tombstones are refused") {
  Tombstones tombstones;
  tombstones.add({3, 5, 6});
  const json good = tombstones.to_json();
  CHECK_THROWS(Tombstones(good, 6));  // row 6 of a store of 6 rows
  for (const char* batch :
       {"", "3,", "5-3", "3,3", "6,5", "-1", "3;5", "3-", "x", "3, 5", "99999999999999999999"}) {
    json bad = good;
    bad["batches"] = {batch};
    INFO(batch);
    CHECK_THROWS_AS(Tombstones(bad, 10), std::invalid_argument);
  }
  for (const char* field : {"count", "digest"}) {
    json bad = good;
    bad[field] = field[0] == 'c' ? json(4) : json("0");
    CHECK_THROWS_AS(Tombstones(bad, 10), std::invalid_argument);
  }
  json twice = good;
  twice["batches"] = {"3", "3"};
  CHECK_THROWS_AS(Tombstones(twice, 10), std::invalid_argument);
}
