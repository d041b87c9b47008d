// A large buffer that the system may move to disk.
#pragma once

#include <cstdint>
#include <filesystem>

namespace helip::mining {

// Zeros at first, aligned to a page. Moves, does not copy.
class ScratchMemory {
 public:
  ScratchMemory() = default;
  // In memory, or, with a folder, in a file there that has no name and is gone with the process.
  // Something else is to be mapped over the first `begin` bytes, which take no room there.
  // Throws Error: out_of_memory, io.
  explicit ScratchMemory(std::int64_t bytes);
  ScratchMemory(std::int64_t bytes, const std::filesystem::path& folder, std::int64_t begin = 0);
  ~ScratchMemory();
  ScratchMemory(ScratchMemory&& other) noexcept;
  ScratchMemory& operator=(ScratchMemory&& other) noexcept;
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;

  char* data() const noexcept { return data_; }
  // Memory that is in no file; what is there stays, and may move. Throws Error: out_of_memory.
  void grow(std::int64_t bytes);

 private:
  char* data_ = nullptr;
  std::int64_t bytes_ = 0;
};

}  // namespace helip::mining
