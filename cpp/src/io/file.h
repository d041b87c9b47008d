// Files that are published whole or not at all, and directories with one owner.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "helip/error.h"

namespace helip {

// As messages name a path: in quotes.
[[nodiscard]] std::string quoted(const std::filesystem::path& path);

// "\"<file>\" is damaged: <what>", and what mends it.
[[noreturn]] HELIP_FOR_DATA void throw_damaged(const std::filesystem::path& file,
                                               const std::string& what,
                                               const std::string& remedy = {});

// As those of std::filesystem, but what goes wrong is Error(io).
[[nodiscard]] bool path_exists(const std::filesystem::path& path);
[[nodiscard]] bool directory_exists(const std::filesystem::path& path);
[[nodiscard]] std::vector<std::string> names_in(const std::filesystem::path& directory);
[[nodiscard]] HELIP_FOR_DATA std::filesystem::path absolute_path(const std::filesystem::path& path);

// A file descriptor, closed on destruction.
class HELIP_FOR_DATA Descriptor {
 public:
  explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept;
  Descriptor& operator=(Descriptor&& other) noexcept;
  [[nodiscard]] int get() const noexcept { return fd_; }
  void close(const std::filesystem::path& name);  // checked: throws Error(io)
  int release() noexcept;                         // leaves it open

 private:
  int fd_;
};

// "a pipe": of st_mode, as messages name it.
[[nodiscard]] HELIP_FOR_DATA const char* kind_of_file(mode_t mode) noexcept;
// A file of a directory that the library wrote, which is no link. Throws Error: io, corrupt where
// it is no regular file. Never waits.
[[nodiscard]] Descriptor open_for_reading(const std::filesystem::path& path);
// Another descriptor of the same open file. Throws Error(io).
[[nodiscard]] Descriptor duplicate(const Descriptor& file, const std::filesystem::path& name);
// A file that a caller names, also by a link. Throws Error: io, invalid_argument where it is no
// regular file. Never waits.
[[nodiscard]] HELIP_FOR_DATA Descriptor open_given_file(const std::filesystem::path& path);
// Nanoseconds since 1970, modulo 2^64: a file may be dated after the year 2262.
[[nodiscard]] HELIP_FOR_DATA std::int64_t modified_of(const struct stat& status) noexcept;
[[nodiscard]] std::int64_t file_size(const Descriptor& file, const std::filesystem::path& name);
// Reads `bytes`, fewer only where the file ends; returns how many.
[[nodiscard]] HELIP_FOR_DATA std::size_t read_up_to(const Descriptor& file, void* out,
                                                    std::size_t bytes, std::int64_t offset,
                                                    const std::filesystem::path& name);
// Reads exactly `bytes`; throws corrupt when the file ends before.
void read_exactly(const Descriptor& file, void* out, std::size_t bytes, std::int64_t offset,
                  const std::filesystem::path& name);
[[nodiscard]] std::string read_small_file(const std::filesystem::path& path, std::int64_t limit);
void sync_directory(const std::filesystem::path& directory);
// Creates the directory and its missing parents, durably.
void make_directory(const std::filesystem::path& directory);
void remove_file(const std::filesystem::path& path) noexcept;
void remove_file_in(const std::filesystem::path& directory, const std::string& name) noexcept;
void remove_empty_directory(const std::filesystem::path& path) noexcept;
// Bytes that files of a directory may still take.
[[nodiscard]] std::int64_t free_bytes(const std::filesystem::path& directory);
// With all that is in it; what cannot be removed stays.
void remove_directory(const std::filesystem::path& path) noexcept;

// A temporary file in a directory. publish() makes it durable and gives it its name there;
// destruction before that removes it. A failed write or sync is final: the system may have dropped
// what it could not write, and say of the next attempt that all is well.
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
  void sync();                 // what was written so far, so that publish() has less to wait for
  void begin_sync() noexcept;  // the same without waiting for it, where the system can
  // fsync, close, rename, fsync of the directory. Where it throws there is no file of this name.
  void publish(const std::string& name);
  // The same for a file that counts from the moment when it has its name, whatever lay there
  // before: fsync, close, rename. A crash may undo it until the directory is synchronised.
  void replace(const std::string& name);
  static constexpr const char* kPrefix = ".pending-";

 private:
  std::filesystem::path directory_;
  std::filesystem::path temporary_;
  Descriptor file_;
};

// Removes what writers left in a directory that were stopped or killed: pending files, and of those
// that `is_ours(name)` all but `kept`. What stays takes room and is in nobody's way.
template <typename IsOurs>
void remove_leftovers(const std::filesystem::path& directory, const std::string& kept,
                      const IsOurs& is_ours) noexcept {
  try {
    for (const std::string& name : names_in(directory)) {
      if (name == kept || !(name.starts_with(PendingFile::kPrefix) || is_ours(name))) continue;
      remove_file_in(directory, name);
    }
  } catch (const std::exception&) {  // then all of it stays
  }
}

inline constexpr const char* kLockName = ".lock";

// Exclusive ownership of a directory by flock on a file that is never deleted; a killed owner
// frees it. Throws Error(io) at once when another process owns it.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::filesystem::path& directory);
  // The same, but nothing where another process owns it.
  static std::optional<DirectoryLock> if_free(const std::filesystem::path& directory);

 private:
  DirectoryLock() = default;
  bool take(const std::filesystem::path& directory);

  Descriptor file_;
};

}  // namespace helip
