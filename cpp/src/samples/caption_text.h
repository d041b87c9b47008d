// What a data set takes for the caption of a sample, of the bytes of its members.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace helip::samples {

// Of a text member: nothing where it is blank, or not UTF-8.
std::optional<std::string> caption_of_text(std::string_view bytes);

// Of a .json member: its "caption", else its "captions", else its "text"; of a list all of them
// with line feeds between. Nothing where it has none, or is no object.
std::optional<std::string> caption_of_json(std::string_view bytes);

}  // namespace helip::samples
