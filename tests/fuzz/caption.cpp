// What a data set takes for a caption, of a text and of a .json member.
#include "base/text.h"
#include "fuzz.h"
#include "samples/caption_text.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  return {"\1  a caption\xc2\xa0", "\2{\"captions\": [\"a\", \"b\"], \"text\": \"c\"}",
          "\2{\"caption\": \"\\u00e4\\ud83d\\ude00\"}"};
}

void take(std::string_view input) {
  const auto caption =
      take_byte(input) & 1 ? samples::caption_of_text(input) : samples::caption_of_json(input);
  if (caption) promise(!trimmed(*caption).empty(), "a caption has letters");
}

}  // namespace helip::fuzz
