// Damage to a file.
#pragma once

#include <filesystem>
#include <fstream>

namespace helip::testing {

// Changes one bit of the byte; a second time changes it back.
inline void flip_byte(const std::filesystem::path& path, std::uintmax_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(at));
  const char byte = static_cast<char>(file.get() ^ 4);
  file.seekp(static_cast<std::streamoff>(at));
  file.put(byte);
}

}  // namespace helip::testing
