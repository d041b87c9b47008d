// Files that are published whole or not at all, and directories with one owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace helip {

// A file descriptor, closed on destruction.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  int get() const noexcept { return fd_; }
  void close(const std::filesystem::path& name);  // checked: throws Error(io)
  int release() noexcept;                         // leaves it open

 private:
  int fd_;
};

Descriptor open_for_reading(const std::filesystem::path& path);
std::int64_t file_size(const Descriptor& file, const std::filesystem::path& name);
// Reads `bytes`, fewer only where the file ends; returns how many.
std::size_t read_up_to(const Descriptor& file, void* out, std::size_t bytes, std::int64_t offset,
                       const std::filesystem::path& name);
// Reads exactly `bytes`; throws corrupt when the file ends before.
void read_exactly(const Descriptor& file, void* out, std::size_t bytes, std::int64_t offset,
                  const std::filesystem::path& name);
std::string read_small_file(const std::filesystem::path& path, std::int64_t limit);
void sync_directory(const std::filesystem::path& directory);
// Creates the directory and its missing parents, durably.
void make_directory(const std::filesystem::path& directory);
void remove_file(const std::filesystem::path& path) noexcept;

// A temporary file in a directory. publish() makes it durable and gives it its name there;
// destruction before that removes it. A failed write or sync is final.
class PendingFile {
 public:
  explicit PendingFile(std::filesystem::path directory);
  ~PendingFile();
  PendingFile(PendingFile&& other) noexcept;
  PendingFile& operator=(PendingFile&&) = delete;

  void write_at(const void* data, std::size_t bytes, std::int64_t offset);
  void read_at(void* out, std::size_t bytes, std::int64_t offset) const;
  void reserve(std::int64_t bytes);  // so that a full disk shows now; a hint where unsupported
  void truncate(std::int64_t bytes);
  void sync();  // what was written so far, so that publish() has less to wait for
  void publish(const std::string& name);  // fsync, close, rename, fsync of the directory

  static constexpr const char* kPrefix = ".pending-";

 private:
  std::filesystem::path directory_;
  std::filesystem::path temporary_;
  Descriptor file_;
};

// Exclusive ownership of a directory by flock on a file that is never deleted; a killed owner
// frees it. Throws Error(io) at once when another process owns it.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::filesystem::path& directory);

 private:
  Descriptor file_;
};

}  // namespace helip
