// A few named arrays in one safetensors file: written from where they lie, read to where they go.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "helip/matrix.h"
#include "io/file.h"
#include "io/manifest.h"
#include "io/safetensors.h"

namespace helip {

// Dense, row-major.
struct Tensor {
  std::string name;
  DType dtype = DType::uint8;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;

  std::int64_t bytes() const noexcept;
};

// They become a file of a directory, whole or not at all.
class PendingTensors {
 public:
  // Writes them. `advance(bytes)` is called now and then and may throw to stop. `wait`: for the
  // disk, bit by bit; else publish() does, and until then they are on their way.
  PendingTensors(const std::filesystem::path& directory, const std::vector<Tensor>& tensors,
                 const std::function<void(std::int64_t)>& advance, bool wait);
  // Returns what a reader checks; as a shard it has one row.
  ShardRecord publish(const std::string& name);
  std::int64_t bytes() const noexcept { return record_.bytes; }

 private:
  PendingFile file_;
  ShardRecord record_;
};

// Both in one step.
ShardRecord write_tensors(const std::filesystem::path& directory, const std::string& name,
                          const std::vector<Tensor>& tensors,
                          const std::function<void(std::int64_t)>& advance = {});

class TensorFile {
 public:
  // Checks the header. Throws Error: io, corrupt.
  TensorFile(std::filesystem::path path, ShardRecord record);

  bool has(const std::string& name) const noexcept;
  // Throws corrupt where there is none, or of another dtype.
  std::int64_t elements(const std::string& name, DType dtype) const;
  // All of them, compared with their checksum: corrupt where they differ, or are not so many.
  void read(const std::string& name, DType dtype, std::int64_t elements, void* out) const;
  // The same of what lies at `data` already, mapped from the file.
  void compare(const std::string& name, DType dtype, std::int64_t elements, const void* data) const;
  // Where its first byte is in the file.
  std::int64_t offset(const std::string& name) const { return header_.at(name, path_).begin; }
  const std::filesystem::path& path() const noexcept { return path_; }
  const Descriptor& file() const noexcept { return file_; }

 private:
  const TensorInfo& checked(const std::string& name, DType dtype, std::int64_t elements) const;
  void compare_digest(const std::string& name, const std::string& digest) const;
  [[noreturn]] void damaged(const std::string& what) const;

  std::filesystem::path path_;
  ShardRecord record_;
  Descriptor file_;
  SafetensorsHeader header_;
};

}  // namespace helip
