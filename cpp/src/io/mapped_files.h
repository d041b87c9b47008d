// Which addresses are those of mapped files, and whether a file was cut short under one of them.
#pragma once

#include <cstdint>
#include <filesystem>

#include "helip/mapped_files.h"  // IWYU pragma: export

namespace helip {

// Tells the guard of addresses [begin, begin + bytes), where files of `folder` are mapped, while it
// lives.
class MappedRange {
 public:
  MappedRange() noexcept = default;
  MappedRange(const void* begin, std::int64_t bytes, const std::filesystem::path& folder);
  ~MappedRange();
  MappedRange(MappedRange&& other) noexcept;
  MappedRange& operator=(MappedRange&& other) noexcept;  // ends what it was

 private:
  struct Slot;
  struct Registry;
  friend void guard_mapped_files();
  friend void require_whole(const void* address);
  static Registry& registry() noexcept;
  static void on_fault(int number, void* information, void* context) noexcept;

  Slot* slot_ = nullptr;
};

// Throws Error(corrupt) where a file that lay at this address was cut short. Costs one load where
// none ever was.
void require_whole(const void* address);

}  // namespace helip
