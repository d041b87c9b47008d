// Memory that starts on a cache line, as the kernels ask.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace helip::mining {

struct AlignedDelete {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t{64}); }
};
template <typename T>
using AlignedArray = std::unique_ptr<T[], AlignedDelete>;

// Not initialised.
template <typename T>
AlignedArray<T> allocate_aligned(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
  return AlignedArray<T>(static_cast<T*>(::operator new(bytes, std::align_val_t{64})));
}

}  // namespace helip::mining
