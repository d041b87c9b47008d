#include "table/store/key_set.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

TEST_CASE("a key set contains what was inserted and nothing else") {
  helip::KeySet set;
  CHECK_FALSE(set.contains("a"));
  for (int i = 0; i < 20000; ++i) set.insert("key " + std::to_string(i));
  int found = 0;
  for (int i = 0; i < 20000; ++i) found += set.contains("key " + std::to_string(i)) ? 1 : 0;
  CHECK(found == 20000);
  int strangers = 0;
  for (int i = 20000; i < 40000; ++i) strangers += set.contains("key " + std::to_string(i)) ? 1 : 0;
  CHECK(strangers == 0);
}
