#include "io/json.h"

#include <catch2/catch_test_macros.hpp>
#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

using namespace helip;

namespace {

std::string message_of(const std::string& text, int depth = 64) {
  try {
    (void)parse_json(text, depth);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

}  // namespace

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

TEST_CASE("text that is JSON is parsed") {
  CHECK(parse_json(R"({"a": [1, "]}\"", null]})").at("a").size() == 3);
}

TEST_CASE("brackets within strings do not count as nesting") {
  CHECK(message_of("\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"").empty());
  CHECK(message_of(std::string(65, '[') + std::string(65, ']')) == "nesting deeper than 64");
  CHECK(message_of(std::string(8, '[') + std::string(8, ']'), 8).empty());
}

TEST_CASE("more values than any manifest has are refused before they take memory") {
  std::string text = "[0";
  for (int i = 0; i < (1 << 23) + 1; ++i) text += ",0";
  CHECK(message_of(text + "]") == "more than 8388608 values");
}

TEST_CASE("a message quotes a little of a long text") {
  CHECK(message_of(std::string(1000000, '7') + "x").size() < 400);
  CHECK(message_of("[tru]").find("parse error") != std::string::npos);
}

TEST_CASE("an object of many members takes time in proportion to their number") {
  const auto seconds = [](int members) {
    std::string text = "{";
    for (int i = 0; i < members; ++i) {
      text += (i > 0 ? ",\"" : "\"") + std::to_string(i) + R"(":{"shape":[0]})";
    }
    text += "}";
    const auto begin = std::chrono::steady_clock::now();
    (void)parse_json(text);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  // A quadratic parser takes 100 times as long for ten times as many: 20 s here.
  CHECK(seconds(40000) < 40 * seconds(4000) + 1.0);
}
