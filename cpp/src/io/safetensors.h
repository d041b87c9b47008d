// The safetensors container: 8 bytes of header length, a JSON header, tensors without holes.
// Reading is strict: exact length, no overlaps, no holes, checked arithmetic, known dtypes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "helip/matrix.h"
#include "io/file.h"

namespace helip {

struct TensorInfo {
  std::string name;
  DType dtype = DType::uint8;
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0;  // bytes from the start of the file
  std::int64_t end = 0;
};

struct SafetensorsHeader {
  std::int64_t data_begin = 0;      // bytes from the start of the file
  std::string bytes;                // the length and the JSON text as stored
  std::vector<TensorInfo> tensors;  // in order of `begin`
  const TensorInfo& at(const std::string& name, const std::filesystem::path& file) const;
};

// Throws Error(corrupt) with what is wrong.
SafetensorsHeader read_safetensors_header(const Descriptor& file,
                                          const std::filesystem::path& name);

// The header of tensors laid out in the given order, padded with spaces to exactly `size` bytes.
std::string make_safetensors_header(const std::vector<TensorInfo>& tensors, std::int64_t size);

}  // namespace helip
