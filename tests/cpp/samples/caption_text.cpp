#include "samples/caption_text.h"

#include <catch2/catch_test_macros.hpp>

namespace samples = helip::samples;

TEST_CASE("a text member is a caption where it is UTF-8 and not blank") {
  CHECK(samples::caption_of_text("\xef\xbb\xbf"
                                 "a dog")
            .value() == "a dog");
  CHECK(!samples::caption_of_text(" \n"));
  CHECK(!samples::caption_of_text("a \xff dog"));
}

TEST_CASE("of a json member the first of caption, captions and text that has any counts") {
  CHECK(samples::caption_of_json(R"({"text": "b", "caption": "a"})").value() == "a");
  CHECK(samples::caption_of_json(R"({"text": "b", "caption": " "})").value() == "b");
  CHECK(samples::caption_of_json(R"({"text": "b", "captions": ["c"], "caption": 1})").value() ==
        "c");
  CHECK(!samples::caption_of_json(R"({"caption": 1.5, "text": null})"));
  CHECK(!samples::caption_of_json(R"(["a"])"));
  CHECK(!samples::caption_of_json(R"({"caption": )"));
}

TEST_CASE("captions in a list are joined once each, and what is no text is passed over") {
  CHECK(samples::caption_of_json(R"({"caption": [" a", "b", "a ", "", null, 7, true, 0.5, ["x"]]})")
            .value() == "a\nb\n7");
  CHECK(!samples::caption_of_json(R"({"caption": [], "captions": [null]})"));
}
