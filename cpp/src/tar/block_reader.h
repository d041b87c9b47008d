// Blocks of a file in ascending order, read ahead where they lie close to each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "io/file.h"

namespace helip::tar {

// Not thread-safe; the descriptor must outlive it. No read goes beyond `size`.
class BlockReader {
 public:
  BlockReader(const Descriptor& file, std::filesystem::path path, std::int64_t size);

  // The block of 512 bytes at `offset`, until the next call; nullptr where the file ends before.
  // Throws Error(io).
  const unsigned char* block(std::int64_t offset);

 private:
  const Descriptor& file_;
  std::filesystem::path path_;
  std::int64_t size_;
  std::int64_t begin_ = 0;  // of the window in the file
  std::int64_t end_ = 0;
  std::vector<unsigned char> window_;
};

}  // namespace helip::tar
