// The block of 512 bytes in front of each member of a tar file: POSIX ustar, GNU and V7.
#pragma once

#include <cstdint>
#include <string>

namespace helip::tar {

inline constexpr std::int64_t kBlock = 512;

// What `bytes` bytes of a body take in the file.
constexpr std::int64_t padded(std::int64_t bytes) { return (bytes + kBlock - 1) / kBlock * kBlock; }

struct Header {
  std::string name;        // bytes as stored, behind the prefix of ustar
  char type = '0';         // 5 also for the directories of V7
  std::int64_t bytes = 0;  // of the body as it says, negative as it may be
  bool continued = false;  // type S: a block with more of its map follows
};

bool is_zero(const unsigned char* block);

// Fills `header` from a block. Returns what is wrong with it in words, nullptr where nothing is.
const char* read_header(const unsigned char* block, Header& header);

}  // namespace helip::tar
