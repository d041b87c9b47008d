// The bytes of a file, as they are.
#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

inline std::string whole_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
