#include "base/excerpt.h"

#include <catch2/catch_test_macros.hpp>

using helip::excerpt;

TEST_CASE("an excerpt has 200 bytes of whole letters") {
  CHECK(excerpt("") == "");
  CHECK(excerpt(std::string(200, 'a')) == std::string(200, 'a'));
  CHECK(excerpt(std::string(201, 'a')) == std::string(200, 'a') + "…");
  // A letter of two bytes, and one of four, that begins at the last byte.
  CHECK(excerpt(std::string(199, 'a') + "ä") == std::string(199, 'a') + "…");
  CHECK(excerpt(std::string(197, 'a') + "😀") == std::string(197, 'a') + "…");
  // Bytes that are no UTF-8.
  CHECK(excerpt(std::string(300, '\x80')).size() < 210);
}
