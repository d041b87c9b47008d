#include "io/json.h"

#include <mutex>
#include <new>
#include <stdexcept>

namespace helip {
namespace {

constexpr std::size_t kUnit = alignof(std::max_align_t);
constexpr std::size_t kReserve = 4096 * sizeof(Json);

struct Reserve {
  std::recursive_mutex mutex;  // held as long as a piece is out: values move to a larger one
  std::size_t used = 0;
  int pieces = 0;
  alignas(kUnit) std::byte bytes[kReserve] = {};
};

// Never destroyed: values may outlive whatever ends before them.
Reserve& reserve() noexcept {
  alignas(Reserve) static std::byte place[sizeof(Reserve)];
  static Reserve* const made = new (place) Reserve;
  return *made;
}

constexpr std::int64_t kMostValues = std::int64_t{1} << 23;  // about 100 bytes each once parsed
constexpr std::size_t kMessageLimit = 200;                   // a parser quotes what it read last

}  // namespace

void* allocate_json(std::size_t bytes) {
  if (void* const memory = ::operator new(bytes, std::nothrow)) return memory;
  Reserve& own = reserve();
  own.mutex.lock();
  const std::size_t size = (bytes + kUnit - 1) / kUnit * kUnit;
  if (size > kReserve - own.used) {
    own.mutex.unlock();
    throw std::bad_alloc();
  }
  void* const memory = own.bytes + own.used;
  own.used += size;
  ++own.pieces;
  return memory;
}

void free_json(void* memory) noexcept {
  Reserve& own = reserve();
  const auto* const at = static_cast<const std::byte*>(memory);
  if (at < own.bytes || at >= own.bytes + kReserve) {
    ::operator delete(memory);
    return;
  }
  if (--own.pieces == 0) own.used = 0;
  own.mutex.unlock();
}

void check_json_bounds(std::string_view text, int depth) {
  std::int64_t values = 0;
  int open = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++open > depth) {
        throw std::invalid_argument("nesting deeper than " + std::to_string(depth));
      }
      ++values;
    } else if (c == ']' || c == '}') {
      --open;
    } else if (c == ',') {
      ++values;
    }
    if (values > kMostValues) {
      throw std::invalid_argument("more than " + std::to_string(kMostValues) + " values");
    }
  }
}

Json parse_json(std::string_view text, int depth) {
  // Not by a callback of the parser, which makes it quadratic in the members of an object.
  check_json_bounds(text, depth);
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::exception& error) {
    throw std::invalid_argument(std::string(error.what()).substr(0, kMessageLimit));
  }
}

}  // namespace helip
