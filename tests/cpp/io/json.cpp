#include "io/json.h"

#include <catch2/catch_test_macros.hpp>
#include <cstdint>
#include <limits>

using namespace helip;

TEST_CASE("whole numbers of 64 bits are read, and nothing else is taken for one") {
  CHECK(integer_of(Json::parse("-9223372036854775808")) ==
        std::numeric_limits<std::int64_t>::min());
  CHECK(integer_of(Json::parse("9223372036854775807")) == std::numeric_limits<std::int64_t>::max());
  CHECK(unsigned_of(OrderedJson::parse("18446744073709551615")) ==
        std::numeric_limits<std::uint64_t>::max());
  CHECK(unsigned_of(Json(std::int64_t{7})) == 7);
  // The last is a fraction for the parser.
  for (const char* text : {"9223372036854775808", "2.6e145", "-1e300", "1.5", "1e3", "true", "null",
                           "\"7\"", "[7]", "99999999999999999999999"}) {
    INFO(text);
    CHECK_THROWS_AS(integer_of(Json::parse(text)), Json::exception);
  }
  CHECK_THROWS_AS(unsigned_of(Json::parse("-1")), Json::exception);
  CHECK_THROWS_AS(unsigned_of(Json::parse("2.6e145")), Json::exception);
}
