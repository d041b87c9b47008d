#include "support/failing_allocations.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<bool> counting{false};
std::atomic<std::int64_t> count{0};
std::atomic<std::int64_t> failing_at{-1};
std::atomic<bool> failed{false};
thread_local int paused = 0;

bool fails() noexcept {
  if (!counting.load(std::memory_order_relaxed) || paused > 0) return false;
  if (count++ != failing_at) return false;
  failed = true;
  return true;
}

void* allocate(std::size_t bytes) noexcept { return fails() ? nullptr : std::malloc(bytes); }

void* allocate(std::size_t bytes, std::align_val_t align) noexcept {
  if (fails()) return nullptr;
  const std::size_t unit = std::max(static_cast<std::size_t>(align), sizeof(void*));
  return std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit);
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

FailingAllocations::FailingAllocations(std::int64_t at) {
  count = 0;
  failing_at = at;
  failed = false;
  counting = true;
}

FailingAllocations::~FailingAllocations() { counting = false; }

bool FailingAllocations::happened() const noexcept { return failed; }

NoFailingAllocations::NoFailingAllocations() noexcept { ++paused; }

NoFailingAllocations::~NoFailingAllocations() { --paused; }

void* operator new(std::size_t bytes) { return or_throw(allocate(bytes)); }
void* operator new[](std::size_t bytes) { return or_throw(allocate(bytes)); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes); }
void* operator new(std::size_t bytes, std::align_val_t align) {
  return or_throw(allocate(bytes, align));
}
void* operator new[](std::size_t bytes, std::align_val_t align) {
  return or_throw(allocate(bytes, align));
}
void* operator new(std::size_t bytes, std::align_val_t align, const std::nothrow_t&) noexcept {
  return allocate(bytes, align);
}
void* operator new[](std::size_t bytes, std::align_val_t align, const std::nothrow_t&) noexcept {
  return allocate(bytes, align);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(memory);
}
