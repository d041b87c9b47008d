#include "samples/caption_text.h"

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "base/text.h"
#include "io/json.h"
#include "samples/sample_name.h"

namespace helip::samples {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// As UTF-8 without a byte order mark; nothing where it is none.
std::optional<std::string> decoded(std::string_view bytes) {
  if (bytes.starts_with(kByteOrderMark)) bytes.remove_prefix(kByteOrderMark.size());
  std::string text = clean_key(bytes);
  if (text != bytes) return std::nullopt;
  return text;
}

// One element of a list of captions, or a caption alone; empty where it is none.
std::string caption_of(const Json& value) {
  if (value.is_string()) return std::string(trimmed(value.get_ref<const std::string&>()));
  return value.is_number_integer() ? value.dump() : std::string();
}

// Of a list all that are captions, once each, with line feeds between them.
std::string joined(const Json& value) {
  if (!value.is_array()) return value.is_string() ? caption_of(value) : std::string();
  std::vector<std::string> captions;
  std::string text;
  for (const Json& each : value) {
    std::string caption = caption_of(each);
    if (caption.empty() || std::find(captions.begin(), captions.end(), caption) != captions.end()) {
      continue;
    }
    if (!captions.empty()) text += '\n';
    text += caption;
    captions.push_back(std::move(caption));
  }
  return text;
}

}  // namespace

std::optional<std::string> caption_of_text(std::string_view bytes) {
  std::optional<std::string> text = decoded(bytes);
  if (!text || trimmed(*text).empty()) return std::nullopt;
  return text;
}

std::optional<std::string> caption_of_json(std::string_view bytes) {
  const std::optional<std::string> text = decoded(bytes);
  if (!text) return std::nullopt;
  try {
    const Json value = parse_json(*text);
    if (!value.is_object()) return std::nullopt;
    for (const char* name : {"caption", "captions", "text"}) {
      const auto found = value.find(name);
      if (found == value.end()) continue;
      std::string captions = joined(*found);
      if (!captions.empty()) return captions;
    }
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {  // reading it says what is wrong
  }
  return std::nullopt;
}

}  // namespace helip::samples
