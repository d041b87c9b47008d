// Files that are mapped: at which addresses, and whether they are still as long as they were.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>

#include "helip/export.h"
#include "helip/mapped_files.h"  // IWYU pragma: export
#include "io/file.h"

namespace helip {

// One file. Its descriptor is kept, so that it can be looked at whatever became of its name: a
// newer generation may have removed or replaced it. Not so where the number of the descriptor is
// beyond half of what the process may open: thousands of shards must not take what others need.
// Then its name is looked at, and a file that lost its name is taken for whole.
class MappedFile {
 public:
  MappedFile(Descriptor file, std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&&) = default;
  MappedFile& operator=(MappedFile&&) = delete;

  // Throws Error(corrupt) where it has another size than when it was opened. Where it was written
  // to since, calls compare(descriptor, or nullptr where it was not kept), which throws unless the
  // file holds what it held.
  void require_whole(const std::function<void(const Descriptor*)>& compare) const;

 private:
  bool is(const struct stat& status) const noexcept;

  std::filesystem::path path_;
  Descriptor file_;
  dev_t device_;
  ino_t number_;
  std::int64_t bytes_;
  mutable std::int64_t modified_;  // nanoseconds; atomic
};

// What is mapped from.
class HELIP_FOR_DATA MappedFiles {
 public:
  // Throws Error(corrupt) where one of them was cut short or holds something else.
  virtual void require_whole() const = 0;

 protected:
  ~MappedFiles() = default;
};

// Tells the guard of addresses [begin, begin + bytes), where these files are mapped, while it
// lives.
class MappedRange {
 public:
  MappedRange() noexcept = default;
  MappedRange(const void* begin, std::int64_t bytes, const MappedFiles& files);
  ~MappedRange();
  MappedRange(MappedRange&& other) noexcept;
  MappedRange& operator=(MappedRange&& other) noexcept;  // ends what it was

  // Whether a page was touched that was gone, and reads as zeros since.
  bool was_cut() const noexcept;

 private:
  struct Slot;
  struct Registry;
  friend void guard_mapped_files();
  friend void keep_guard();
  friend HELIP_FOR_DATA void require_whole(const void* address);
  static Registry& registry() noexcept;
  static void on_fault(int number, void* information, void* context) noexcept;

  Slot* slot_ = nullptr;
};

// Puts the guard back where somebody else's handler of SIGBUS took its place; it gets what is not
// the guard's. Costs a call of the system where there is a guard.
void keep_guard();

// Throws Error(corrupt) where files that are mapped at this address are not whole.
void require_whole(const void* address);

}  // namespace helip
