#include "tar/block_reader.h"

#include <algorithm>
#include <utility>

#include "tar/tar_header.h"

namespace helip::tar {
namespace {

// Behind a large body only the next few headers and short texts are likely to be wanted: copying
// images that nobody looks at would cost more than the calls.
constexpr std::int64_t kFarWindow = 4096;
constexpr std::int64_t kNearWindow = std::int64_t{64} << 10;
constexpr std::int64_t kNear = 8192;

}  // namespace

BlockReader::BlockReader(const Descriptor& file, std::filesystem::path path, std::int64_t size)
    : file_(file), path_(std::move(path)), size_(size), window_(kNearWindow) {}

const unsigned char* BlockReader::block(std::int64_t offset) {
  if (offset > size_ - kBlock) return nullptr;
  if (offset < begin_ || offset + kBlock > end_) {
    const bool near = offset >= begin_ && offset - end_ <= kNear;
    const std::int64_t wanted = std::min(near ? kNearWindow : kFarWindow, size_ - offset);
    const auto got =
        read_up_to(file_, window_.data(), static_cast<std::size_t>(wanted), offset, path_);
    begin_ = offset;
    end_ = offset + static_cast<std::int64_t>(got);
    if (end_ - begin_ < kBlock) return nullptr;  // cut short meanwhile
  }
  return window_.data() + (offset - begin_);
}

}  // namespace helip::tar
