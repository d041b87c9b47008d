#include <catch2/catch_test_macros.hpp>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "helip/hard_pairs.h"
#include "support/expect_error.h"
#include "support/temporary_folder.h"

using namespace helip;

namespace {

std::string contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

}  // namespace

TEST_CASE("a table goes through the reference's CSV with its ids and their order") {
  const TemporaryFolder folder;
  write(folder / "a.csv", "target,h1,h2,h3\n0,1,2,3\n1,0\n3,2,0\n");
  const HardPairs pairs = HardPairs::open_csv(folder / "a.csv");
  CHECK(pairs.size() == 4);
  CHECK(pairs.k() == 3);
  CHECK(pairs.count(2) == 0);
  CHECK(pairs.id(3, 0) == 2);
  CHECK(pairs.id(3, 2) == -1);
  CHECK(pairs.score(0, 1) == static_cast<float>(1.0 - 1.0 / 3.0));
  pairs.save_csv(folder / "b.csv");
  CHECK(contents(folder / "b.csv") == contents(folder / "a.csv"));
}

TEST_CASE("what writes CSV differently is read as well") {
  const TemporaryFolder folder;
  const std::string plain = "target,h1,h2\n0,1,2\n2,0\n";
  for (const std::string text :
       {"0,1,2\n2,0\n", "0,1,2\r\n2,0,-1\r\n", "\xef\xbb\xbftarget,h\n0, 1 ,2\n\n2,0,",
        "\"0\",\"1\",\"2\"\n2,0"}) {
    INFO(text);
    write(folder / "a.csv", text);
    HardPairs::open_csv(folder / "a.csv").save_csv(folder / "b.csv");
    CHECK(contents(folder / "b.csv") == plain);
  }
  write(folder / "a.csv", "");
  CHECK(HardPairs::open_csv(folder / "a.csv", 3).size() == 3);
}

TEST_CASE("a table of many lines is read across the blocks of its file") {
  const TemporaryFolder folder;
  std::string text = "target,h1,h2,h3\n";
  constexpr int kRows = 150'000;
  for (int i = 0; i < kRows; ++i) {
    text += std::to_string(i);
    for (int r = 1; r <= 3; ++r) text += "," + std::to_string((i + 7 * r) % kRows);
    text += "\n";
  }
  write(folder / "a.csv", text);
  const HardPairs pairs = HardPairs::open_csv(folder / "a.csv");
  REQUIRE(pairs.size() == kRows);
  for (int i = 0; i < kRows; ++i) REQUIRE(pairs.id(i, 2) == (i + 21) % kRows);
  pairs.save_csv(folder / "b.csv");
  CHECK(contents(folder / "b.csv") == text);
}

TEST_CASE("a field that is no row is refused with its line") {
  const TemporaryFolder folder;
  const auto refuse = [&](const std::string& text, std::int64_t rows, const std::string& part) {
    write(folder / "a.csv", text);
    expect_error(ErrorCode::invalid_argument, part,
                 [&] { (void)HardPairs::open_csv(folder / "a.csv", rows); });
  };
  refuse("0,1\nx,2\n", -1, "line 2 of");
  refuse("0,1\n2,1.5\n", -1, "holds \"1.5\"");
  refuse("0,1\n2,99999999999999999999\n", -1, "line 2 of");
  refuse("0,9223372036854775807\n", -1, "more than a data set");
  refuse("0,1\n0,2\n", -1, "line 2 of");
  refuse("O,1,2\n1,0,2\n", -1, "line 1 of");
  refuse("0.0,1.0\n1,0\n", -1, "line 1 of");
  refuse("0;1;2\n1;0;2\n", -1, "commas");
  refuse("target,h1\r0,1\r1,0\r", -1, "line 1 of");
  refuse("0,1\n-3,2\n", -1, "target -3");
  refuse("0,9\n", 4, "names row 9; a data set of 4 rows ends at 3");
  refuse("0,0\n", 4, "itself");
  refuse(std::string("0,\0\n", 5), 4, "line 1 of");
  for (const char* row : {"9223372036854775806", "4611686018427387903", "9000000000000"}) {
    write(folder / "a.csv", std::string("0,1,2,3\n1,") + row + "\n");
    expect_error(ErrorCode::out_of_memory, "not enough memory for a table of",
                 [&] { (void)HardPairs::open_csv(folder / "a.csv"); });
  }
  expect_error(ErrorCode::io, "nothing.csv",
               [&] { (void)HardPairs::open_csv(folder / "nothing.csv"); });
}
