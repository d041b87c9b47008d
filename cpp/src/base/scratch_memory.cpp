#include "base/scratch_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/retry.h"
#include "helip/error.h"

namespace helip::mining {
namespace {

[[noreturn]] void fail_without_memory(std::int64_t bytes) {
  throw Error(ErrorCode::out_of_memory,
              "there are no " + std::to_string(bytes) +
                  " bytes of memory for rows and their codes; set memory= lower, so that mining "
                  "has them on disk, or give an index fewer rows");
}

char* map(std::int64_t bytes, int flags, int file) {
  if (bytes == 0) return nullptr;
  void* data =
      mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, flags, file, 0);
  if (data == MAP_FAILED) {
    fail_without_memory(bytes);
  }
  return static_cast<char*>(data);
}

[[noreturn]] void fail(const std::filesystem::path& folder, std::int64_t bytes, int error) {
  throw Error(ErrorCode::io, "the codes of the rows take " + std::to_string(bytes) +
                                 " bytes on disk, but no scratch file could be made in " +
                                 folder.string() + ": " + std::strerror(error) +
                                 "; set TMPDIR to a folder with room, or memory= higher");
}

}  // namespace

ScratchMemory::ScratchMemory(std::int64_t bytes)
    : data_(map(bytes, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)), bytes_(bytes) {
#ifdef MADV_HUGEPAGE
  if (data_ != nullptr) madvise(data_, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
#endif
}

ScratchMemory::ScratchMemory(std::int64_t bytes, const std::filesystem::path& folder,
                             std::int64_t begin)
    : bytes_(bytes) {
  std::string name;
  const int file = retry([&] {
    name = (folder / "helip-codes-XXXXXX").string();
    return mkostemp(name.data(), O_CLOEXEC);
  });
  if (file < 0) fail(folder, bytes, errno);
  unlink(name.c_str());
  // Reserved now: a full disk is an error here, not a signal in the middle of the work.
  const int error = bytes > begin ? reserve_bytes(file, begin, bytes) : 0;
  if (error != 0) {
    close(file);
    fail(folder, bytes - begin, error);
  }
  try {
    data_ = map(bytes, MAP_SHARED, file);
  } catch (...) {
    close(file);
    throw;
  }
  close(file);
}

void ScratchMemory::grow(std::int64_t bytes) {
  if (bytes <= bytes_) return;
#ifdef MREMAP_MAYMOVE
  if (data_ != nullptr) {
    // Pages move, their content is not copied.
    void* moved = mremap(data_, static_cast<std::size_t>(bytes_), static_cast<std::size_t>(bytes),
                         MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) fail_without_memory(bytes);
    data_ = static_cast<char*>(moved);
    bytes_ = bytes;
    return;
  }
#endif
  ScratchMemory larger(bytes);
  if (data_ != nullptr) std::memcpy(larger.data_, data_, static_cast<std::size_t>(bytes_));
  *this = std::move(larger);
}

ScratchMemory::~ScratchMemory() {
  if (data_ != nullptr) munmap(data_, static_cast<std::size_t>(bytes_));
}

ScratchMemory::ScratchMemory(ScratchMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

ScratchMemory& ScratchMemory::operator=(ScratchMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace helip::mining
