#include "samples/sample_name.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

using helip::samples::clean_key;
using helip::samples::plain_name;
using helip::samples::split_name;

TEST_CASE("a key ends at the first dot of the last path part") {
  const auto split = [](const std::string& name) {
    const auto found = split_name(plain_name(name));
    return found ? std::string(found->key) + "|" + std::string(found->extension)
                 : std::string("none");
  };
  CHECK(split("a.jpg") == "a|jpg");
  CHECK(split("././v1.0/a.seg.PNG") == "v1.0/a|seg.PNG");
  CHECK(split("../../etc/a.txt") == "../../etc/a|txt");
  CHECK(split("/etc/b.txt") == "/etc/b|txt");
  CHECK(split("a.") == "a|");
  CHECK(split("a b\n.x\ny") == "a b\n|x\ny");
  for (const char* name : {"", "README", ".hidden", "a/.hidden", "a.b/", "a.b/c", "..", "./",
                           "__meta__/x.txt", "./__meta__/x.txt", "____/a.txt"}) {
    INFO(name);
    CHECK(split(name) == "none");
  }
  CHECK(split("__a__.txt") == "__a__|txt");
  CHECK(split("d/__meta__/x.txt") == "d/__meta__/x|txt");
  CHECK(split("___/x.txt") == "___/x|txt");
}

TEST_CASE("bytes that are not UTF-8 are written out in letters") {
  CHECK(clean_key("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x88") ==
        "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x88");
  CHECK(clean_key("caf\xe9") == "caf\\udce9");
  CHECK(clean_key("\xe2\x82x") == "\\udce2\\udc82x");
  CHECK(clean_key("\xc0\x80") == "\\udcc0\\udc80");  // longer than need be
  CHECK(clean_key("\xe0\x80\x80") == "\\udce0\\udc80\\udc80");
  CHECK(clean_key("\xf0\x80\x80\x80") == "\\udcf0\\udc80\\udc80\\udc80");
  CHECK(clean_key("\xed\xa0\x80") == "\\udced\\udca0\\udc80");             // a surrogate
  CHECK(clean_key("\xf4\x90\x80\x80") == "\\udcf4\\udc90\\udc80\\udc80");  // beyond U+10FFFF
  CHECK(clean_key("\xf4\x8f\xbf\xbf") == "\xf4\x8f\xbf\xbf");
  CHECK(clean_key("\xff") == "\\udcff");
  CHECK(clean_key("") == "");
}
