#include "base/text.h"

#include <catch2/catch_test_macros.hpp>

using helip::excerpt;
using helip::trimmed;

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

TEST_CASE("white space of Unicode around a caption is no part of it") {
  CHECK(trimmed("\xe3\x80\x80 \n two dogs\xc2\xa0\x1f") == "two dogs");
  CHECK(trimmed("two  dogs") == "two  dogs");
  CHECK(trimmed(" \t\xe2\x80\xa8").empty());
  // Not a space: a letter whose last byte is that of one.
  CHECK(trimmed("caf\xc3\xa0") == "caf\xc3\xa0");
}
