// JSON of files and of callers, which is not trusted, and its values. The destructor of nlohmann's
// allocates a std::vector of values, which would end the program where that fails; for the
// library's it falls back to a reserve.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "helip/export.h"

namespace helip {

// Of all that a value holds, so that std::allocator is left to its destructor.
template <typename Value>
struct JsonMemory : std::allocator<Value> {
  template <typename Other>
  struct rebind {
    using other = JsonMemory<Other>;
  };
  constexpr JsonMemory() noexcept = default;
  template <typename Other>
  constexpr JsonMemory(const JsonMemory<Other>&) noexcept {}
  Value* allocate(std::size_t count) {
    return static_cast<Value*>(::operator new(count * sizeof(Value)));
  }
  void deallocate(Value* memory, std::size_t) noexcept { ::operator delete(memory); }
};

template <template <typename, typename, typename...> typename Members>
using BasicJson = nlohmann::basic_json<Members, std::vector, std::string, bool, std::int64_t,
                                       std::uint64_t, double, JsonMemory>;
using Json = BasicJson<std::map>;
using OrderedJson = BasicJson<nlohmann::ordered_map>;  // members stay in the order they came in

// Memory of values that are taken apart: as operator new, and where that has none, of a reserve for
// 4,096 values, for one thread at a time. Throws bad_alloc for more. The thread that was given it
// gives it back before it waits for another.
[[nodiscard]] HELIP_FOR_DATA void* allocate_json(std::size_t bytes);
HELIP_FOR_DATA void free_json(void* memory) noexcept;

template <typename Value>
struct JsonStackMemory {
  using value_type = Value;
  constexpr JsonStackMemory() noexcept = default;
  [[nodiscard]] Value* allocate(std::size_t count) {
    return static_cast<Value*>(allocate_json(count * sizeof(Value)));
  }
  void deallocate(Value* memory, std::size_t) noexcept { free_json(memory); }
  friend constexpr bool operator==(const JsonStackMemory&, const JsonStackMemory&) noexcept {
    return true;
  }
};

}  // namespace helip

template <>
struct std::allocator<helip::Json> : helip::JsonStackMemory<helip::Json> {};
template <>
struct std::allocator<helip::OrderedJson> : helip::JsonStackMemory<helip::OrderedJson> {};

namespace helip {

// A whole number of 64 bits. Throws Json::type_error for all else: what get() makes of a fraction
// or of a larger number is undefined, or another number.
template <typename Value>
[[nodiscard]] std::int64_t integer_of(const Value& value) {
  const bool fits = value.is_number_unsigned()
                        ? value.template get<std::uint64_t>() <= std::uint64_t{INT64_MAX}
                        : value.is_number_integer();
  if (!fits) {
    throw Json::type_error::create(302, "a value is not a whole number of 64 bits", nullptr);
  }
  return value.template get<std::int64_t>();
}
// The same without a sign.
template <typename Value>
[[nodiscard]] std::uint64_t unsigned_of(const Value& value) {
  if (value.is_number_unsigned()) return value.template get<std::uint64_t>();
  const std::int64_t number = integer_of(value);
  if (number < 0) throw Json::type_error::create(302, "a number is negative", nullptr);
  return static_cast<std::uint64_t>(number);
}

// Throws std::invalid_argument with what is wrong, in a few words: nested deeper than `depth`, or
// more values than any manifest has. Takes time in proportion to the text, and no memory.
void check_json_bounds(std::string_view text, int depth = 64);

// Throws as check_json_bounds() does, and where the text is not JSON.
HELIP_FOR_DATA Json parse_json(std::string_view text, int depth = 64);

}  // namespace helip
