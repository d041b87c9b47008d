#include "tar/tar_reader.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/refuse.h"

namespace helip::tar {
namespace {

constexpr std::int64_t kNameLimit = std::int64_t{64} << 10;
constexpr std::int64_t kPaxLimit = std::int64_t{1} << 20;  // access lists and the like, too
constexpr int kExtensionLimit = 64;                        // in front of one member
constexpr const char* kMend = "; copy or write it again";

struct Compression {
  std::string_view magic;
  const char* name;
};

using namespace std::string_view_literals;
constexpr Compression kCompressions[] = {
    {"\x1f\x8b"sv, "gzip"},        {"BZh"sv, "bzip2"},
    {"\xfd\x37zXZ\0"sv, "xz"},     {"\x28\xb5\x2f\xfd"sv, "zstd"},
    {"\x04\x22\x4d\x18"sv, "lz4"}, {"PK\x03\x04"sv, "zip"},
};

bool has_body(char type) { return type < '1' || type > '6'; }

MemberKind kind_of(char type, bool sparse) {
  switch (type) {
    case '0':
    case '7': return sparse ? MemberKind::sparse : MemberKind::file;
    case 'S': return MemberKind::sparse;
    case '1':
    case '2': return MemberKind::link;
    case '5': return MemberKind::directory;
    default: return MemberKind::other;
  }
}

}  // namespace

// What was read in front of a member. The first header that says something of it wins.
struct TarReader::Extensions {
  PaxValues values;
  int count = 0;
};

TarReader::TarReader(const Descriptor& file, std::filesystem::path path, std::int64_t size)
    : file_(file), path_(std::move(path)), size_(size), blocks_(file, path_, size) {}

bool TarReader::next(Member& member) {
  const std::int64_t first = at_;
  Extensions extensions;
  Header header;
  for (;;) {
    const std::int64_t header_at = at_;
    const unsigned char* block = blocks_.block(at_);
    const bool ends = block == nullptr || is_zero(block);
    const char* fault = ends ? nullptr : read_header(block, header);
    if (at_ == 0 && (block == nullptr || fault != nullptr)) check_compression();
    if (ends) {
      if (extensions.count > 0) refuse(first, "an extension header without a member behind it");
      if (block == nullptr) refuse_end();
      check_tail();
      digest_.update_field(std::to_string(size_));
      return false;
    }
    if (fault != nullptr) refuse(at_, fault);
    if (header.bytes < 0) refuse(at_, "a header whose size is negative");
    digest_.update(block, kBlock);
    at_ += kBlock;
    if (!read_extension(header, header_at, extensions)) break;
    if (++extensions.count > kExtensionLimit) {
      refuse(first, "more than " + std::to_string(kExtensionLimit) +
                        " extension headers in front of one member");
    }
  }
  skip_sparse_map(header.continued);
  PaxValues& values = extensions.values;
  values.fill_from(global_);
  member.name = values.path ? std::move(*values.path) : std::move(header.name);
  member.kind = kind_of(header.type, values.sparse);
  member.header = first;
  member.offset = at_;
  member.bytes = has_body(header.type) ? values.bytes.value_or(header.bytes) : 0;
  if (member.bytes > size_ - at_) {
    fail(ErrorCode::corrupt, path_.string(), " is truncated or damaged: the member at offset ",
         first, " needs ", member.bytes, " bytes, and the file ends at ", size_, kMend);
  }
  at_ += padded(member.bytes);
  return true;
}

std::string TarReader::body(const Member& member, std::int64_t first, std::int64_t count) {
  std::string bytes;
  for (std::int64_t at = first; at < first + count;) {
    const std::int64_t inside = at % kBlock;
    const unsigned char* block = blocks_.block(member.offset + at - inside);
    if (block == nullptr) break;
    const std::int64_t part = std::min(kBlock - inside, first + count - at);
    bytes.append(reinterpret_cast<const char*>(block) + inside, static_cast<std::size_t>(part));
    at += part;
  }
  return bytes;
}

// Takes up an extension header; false where it is the header of a member.
bool TarReader::read_extension(const Header& header, std::int64_t header_at,
                               Extensions& extensions) {
  PaxValues values;
  switch (header.type) {
    case 'L': {
      std::string name = payload_of(header, header_at);
      name.resize(::strnlen(name.data(), name.size()));
      values.path = std::move(name);
      break;
    }
    case 'K':  // the target of a link, and links are not followed
      payload_of(header, header_at);
      return true;
    case 'x':
    case 'X':
    case 'g': {
      const std::string payload = payload_of(header, header_at);
      const bool global = header.type == 'g';
      if (const char* fault = read_pax(payload, global ? global_ : values)) {
        refuse(header_at, fault);
      }
      break;
    }
    default: return false;
  }
  extensions.values.fill_from(values);
  return true;
}

std::string TarReader::payload_of(const Header& header, std::int64_t header_at) {
  const bool pax = header.type == 'x' || header.type == 'X' || header.type == 'g';
  const std::int64_t limit = pax ? kPaxLimit : kNameLimit;
  if (header.bytes > limit) {
    refuse(header_at, "an extension header of " + std::to_string(header.bytes) +
                          " bytes, more than the " + std::to_string(limit) + " that are allowed");
  }
  std::string payload(static_cast<std::size_t>(std::min(header.bytes, size_ - at_)), '\0');
  const std::size_t got = read_up_to(file_, payload.data(), payload.size(), at_, path_);
  if (static_cast<std::int64_t>(got) < header.bytes) {
    refuse(header_at, "an extension header that goes on beyond the end of the file");
  }
  digest_.update(payload.data(), payload.size());
  at_ += padded(header.bytes);
  return payload;
}

// Blocks of 21 entries; the byte behind them says whether another one follows.
void TarReader::skip_sparse_map(bool continued) {
  constexpr std::size_t kContinued = 504;
  while (continued) {
    const unsigned char* block = blocks_.block(at_);
    if (block == nullptr) refuse_end();
    digest_.update(block, kBlock);
    continued = block[kContinued] != 0;
    at_ += kBlock;
  }
}

// Zeros up to the end of the file, and nothing else.
void TarReader::check_tail() {
  std::vector<char> chunk(std::size_t{64} << 10);
  for (std::int64_t at = at_; at < size_;) {
    const auto wanted = std::min<std::int64_t>(size_ - at, static_cast<std::int64_t>(chunk.size()));
    const std::size_t got =
        read_up_to(file_, chunk.data(), static_cast<std::size_t>(wanted), at, path_);
    if (got == 0) return;
    if (std::any_of(chunk.begin(), chunk.begin() + static_cast<std::ptrdiff_t>(got),
                    [](char byte) { return byte != 0; })) {
      fail(ErrorCode::corrupt, path_.string(), " goes on behind its end marker at offset ", at_,
           ", as joined tar files do; give the parts as separate shards");
    }
    at += static_cast<std::int64_t>(got);
  }
}

// Throws for a compressed file, which is then not the damaged tar file that it seems to be.
void TarReader::check_compression() {
  std::string begin(8, '\0');
  begin.resize(read_up_to(file_, begin.data(), begin.size(), 0, path_));
  for (const Compression& compression : kCompressions) {
    if (!begin.starts_with(compression.magic)) continue;
    fail(ErrorCode::unsupported, path_.string(), " is compressed with ", compression.name,
         ", so samples cannot be read at random; uncompress it to .tar (images hardly gain from "
         "it)");
  }
}

void TarReader::refuse_end() {
  fail(ErrorCode::corrupt, path_.string(), " is truncated: it ends at offset ", size_,
       " without the marker that closes a tar file", kMend,
       ", or append 1,024 zero bytes if it is known whole");
}

void TarReader::refuse(std::int64_t offset, const std::string& what) {
  fail(ErrorCode::corrupt, path_.string(), " is truncated or damaged: ", what, " at offset ",
       offset, " of ", size_, kMend);
}

}  // namespace helip::tar
