#include "helip/checksum.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

#include "helip/error.h"

namespace helip {
namespace {

TEST_CASE("a changed byte changes the checksum of its block alone", "[checksum]") {
  std::string data(1000, 'a');
  const auto before = block_checksums(data.data(), data.size(), 256);
  REQUIRE(before.size() == 4);
  CHECK(before[0] == before[1]);
  CHECK(before[3] != before[0]);  // shorter
  data[600] = 'b';
  const auto after = block_checksums(data.data(), data.size(), 256);
  for (std::size_t block = 0; block < 4; ++block) {
    CHECK((after[block] == before[block]) == (block != 2));
  }
  CHECK(block_checksums(data.data(), 0, 256).empty());
  CHECK_THROWS_AS(block_checksums(data.data(), 1, 0), Error);
}

}  // namespace
}  // namespace helip
