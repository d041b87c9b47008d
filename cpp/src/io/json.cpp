#include "io/json.h"

#include <mutex>
#include <new>

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

}  // namespace helip
