// Calls that change the disk, told one by one as they are made.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

struct DiskChange {
  enum class Kind {
    create,  // of a file that was not there
    write,
    resize,  // to `offset` bytes: ftruncate, and posix_fallocate where it makes a file longer
    sync,
    sync_directory,
    rename,
    make_directory,
    remove,
    remove_directory,
  };
  Kind kind;
  std::filesystem::path path;  // of create, rename (from), removals, directories
  std::filesystem::path to;    // of rename
  std::uint64_t file = 0;      // number of the file that create, write, resize and sync are about
  std::int64_t offset = 0;
  std::string data;
};

// While it lives, it is told of each change below a folder: before it is made, and again once it
// has been. One at a time, from any thread. There is one at most.
class DiskWatch {
 public:
  explicit DiskWatch(std::filesystem::path folder);
  virtual ~DiskWatch();
  DiskWatch(const DiskWatch&) = delete;
  DiskWatch& operator=(const DiskWatch&) = delete;

  virtual void before(const DiskChange&) {}
  virtual void after(const DiskChange&) {}

  const std::filesystem::path& folder() const noexcept { return folder_; }

 private:
  std::filesystem::path folder_;
};
