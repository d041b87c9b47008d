// The members of a tar file, by its headers alone.
//
// Reads ustar, GNU and pax: long names (L, x, g), sizes in base 256, sparse members. Strict: a file
// that is cut short, a header whose checksum is wrong, and anything behind the end marker are
// errors, so that no member is lost in silence. What the file says never decides how much is
// allocated: a name has at most 64 KiB.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "io/checksum.h"
#include "io/file.h"
#include "tar/block_reader.h"
#include "tar/pax_values.h"
#include "tar/tar_header.h"

namespace helip::tar {

enum class MemberKind {
  file,
  directory,
  link,    // symbolic or hard
  sparse,  // its bytes do not lie as they are
  other,   // a device, a pipe, or a type that is not known
};

struct Member {
  std::string name;  // bytes as stored
  MemberKind kind = MemberKind::file;
  std::int64_t header = 0;  // offset of its first header, extension headers included
  std::int64_t offset = 0;  // of its bytes
  std::int64_t bytes = 0;
};

// Not thread-safe; the descriptor must outlive it.
class TarReader {
 public:
  TarReader(const Descriptor& file, std::filesystem::path path, std::int64_t size);

  // Moves on to the next member; false behind the last one, whose end marker has then been checked.
  // Throws Error: corrupt (with path, offset and mend), unsupported (a compressed file), io.
  bool next(Member& member);

  // Bytes [first, first + count) of the member that next() gave last; later bytes of it after
  // earlier ones. Fewer where the file was cut short meanwhile. Costs little where they are its
  // last ones: the header behind them is read with them.
  [[nodiscard]] std::string body(const Member& member, std::int64_t first, std::int64_t count);

  // How far it is in the file.
  std::int64_t position() const noexcept { return at_; }
  // XXH3-128 over all headers and the payloads of extension headers, then the file's size. Once
  // next() has returned false.
  std::string headers_digest() const { return digest_.hex(); }

 private:
  struct Extensions;

  bool read_extension(const Header& header, std::int64_t header_at, Extensions& extensions);
  void skip_sparse_map(bool continued);
  std::string payload_of(const Header& header, std::int64_t header_at);
  void check_tail();
  void check_compression();
  [[noreturn]] void refuse_end();
  [[noreturn]] void refuse(std::int64_t offset, const std::string& what);

  const Descriptor& file_;
  std::filesystem::path path_;
  std::int64_t size_;
  BlockReader blocks_;
  std::int64_t at_ = 0;
  PaxValues global_;
  Digest digest_;
};

}  // namespace helip::tar
