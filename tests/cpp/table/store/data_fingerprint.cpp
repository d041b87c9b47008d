#include "helip/data_fingerprint.h"

#include <catch2/catch_test_macros.hpp>
#include <string>
#include <vector>

using helip::caption_digest;
using helip::DataFingerprint;
using helip::image_digest;
using helip::may_be_same_image;

namespace {

struct Row {
  std::string key;
  std::uint64_t image = 0;
  std::uint64_t caption = 0;
};

// The four parts of a text.
std::vector<std::string> parts(const std::vector<Row>& rows) {
  DataFingerprint fingerprint;
  for (const Row& row : rows) fingerprint.add(row.key, row.image, row.caption);
  const std::string text = fingerprint.text();
  CHECK(text.starts_with(fingerprint.keys() + "-"));
  std::vector<std::string> found{""};
  for (const char each : text) {
    if (each == '-') {
      found.emplace_back();
    } else {
      found.back() += each;
    }
  }
  REQUIRE(found.size() == 4);
  return found;
}

}  // namespace

TEST_CASE("a caption's digest is that of its bytes without white space around them") {
  CHECK(caption_digest(" a dog\n") == caption_digest("a dog"));
  CHECK(caption_digest("a dog") != caption_digest("a cat"));
  CHECK(caption_digest("") != 0);
}

TEST_CASE("an image's digest has its size and, where it was looked at, its end") {
  CHECK(image_digest(1234) == 1234);
  CHECK((image_digest(1234, "end") & 0xffffffffU) == 1234);
  CHECK(image_digest(1234, "end") != image_digest(1234, "End"));
  CHECK(image_digest(std::int64_t{1} << 40) == 0xffffffffU);
  CHECK(image_digest(-1) == 0);
}

TEST_CASE("images may be the same unless a part that both know differs") {
  const auto whole = image_digest(10, "a");
  CHECK(may_be_same_image(whole, whole));
  CHECK(may_be_same_image(whole, image_digest(10)));
  CHECK(may_be_same_image(whole, 0));
  CHECK(!may_be_same_image(whole, image_digest(11)));
  CHECK(!may_be_same_image(whole, image_digest(10, "b")));
}

TEST_CASE("each part of a fingerprint tells of its own, and is 0 where nothing is known") {
  const std::vector<Row> rows{{"k0", image_digest(5, "x"), caption_digest("a")},
                              {"k1", image_digest(6, "y"), caption_digest("b")}};
  const auto before = parts(rows);
  const auto changed = [&](auto change) {
    std::vector<Row> other = rows;
    change(other);
    std::vector<bool> differs;
    const auto now = parts(other);
    for (std::size_t i = 0; i < now.size(); ++i) differs.push_back(now[i] != before[i]);
    return differs;
  };
  using Flags = std::vector<bool>;
  CHECK(changed([](auto& r) { r[1].key = "other"; }) == Flags{true, false, false, false});
  CHECK(changed([](auto& r) { r[1].caption = caption_digest("c"); }) ==
        Flags{false, true, false, false});
  CHECK(changed([](auto& r) { r[1].image = image_digest(7, "y"); }) ==
        Flags{false, false, true, false});
  CHECK(changed([](auto& r) { r[1].image = image_digest(6, "z"); }) ==
        Flags{false, false, false, true});
  CHECK(changed([](auto& r) { std::swap(r[0], r[1]); }) == Flags{true, true, true, true});
  const auto bare = parts({{"k0"}, {"k1"}});
  CHECK(bare[0] == before[0]);
  CHECK((bare[1] == "0" && bare[2] == "0" && bare[3] == "0"));
}
