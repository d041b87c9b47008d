// JSON of files and of callers.
#include "io/json.h"
#include "fuzz.h"

namespace helip::fuzz {

std::vector<std::string> seeds() {
  return {R"({"a": [1, -2.5e3, "\u00e4\\", true, null], "b": {"c": {}}})", "[[[[]]]]",
          R"({"k": 50, "image_max": 0.95, "method": "exact"})"};
}

void take(std::string_view input) {
  try {
    const Json value = parse_json(input);
    promise(parse_json(value.dump()) == value, "a value is what its text says");
  } catch (const std::invalid_argument&) {
    // Its callers name the file or the argument.
  } catch (const Json::type_error&) {
    // Of dump(): a text that is not UTF-8, which parse_json leaves to who uses it.
    promise(false, "a text is UTF-8");
  }
}

}  // namespace helip::fuzz
