// Makes allocations fail, one after the other, to see what is left then.
#pragma once

#include <cstdint>

// While it lives, the allocation with the number `at` (from 0) of all that any thread makes fails.
// Of the program that is linked with it alone: its operators new stand before the library's.
class FailingAllocations {
 public:
  explicit FailingAllocations(std::int64_t at);
  ~FailingAllocations();
  FailingAllocations(const FailingAllocations&) = delete;
  FailingAllocations& operator=(const FailingAllocations&) = delete;

  bool happened() const noexcept;  // whether one failed
};

// Of what this thread does while it lives no allocation fails: what a caller does for itself.
class NoFailingAllocations {
 public:
  NoFailingAllocations() noexcept;
  ~NoFailingAllocations();
  NoFailingAllocations(const NoFailingAllocations&) = delete;
  NoFailingAllocations& operator=(const NoFailingAllocations&) = delete;
};

template <typename Body>
auto unfailing(const Body& body) {
  const NoFailingAllocations now;
  return body();
}
