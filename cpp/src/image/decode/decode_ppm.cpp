#include "image/decode/decode_ppm.h"

#include <cctype>
#include <cstring>
#include <limits>

#include "image/decode/byte_reader.h"

namespace helip::image {
namespace {

// The numbers of the header: after white space and comments, which run from '#' to the line's end.
class Header {
 public:
  explicit Header(std::span<const std::byte> encoded) : reader_(encoded, true) {}

  std::size_t at() const noexcept { return at_; }
  int64_t number() {
    skip();
    if (!std::isdigit(now())) unreadable("PPM", "its header has no number where one must be");
    int64_t value = 0;
    for (; std::isdigit(now()); ++at_) {
      value = value * 10 + (now() - '0');
      if (value > std::numeric_limits<std::int32_t>::max()) {
        unreadable("PPM", "a number of its header is too large");
      }
    }
    return value;
  }
  // The one byte between the header and the pixels.
  void end() {
    if (!std::isspace(now())) unreadable("PPM", "its header does not end");
    ++at_;
  }

 private:
  int now() const noexcept { return static_cast<int>(reader_.u8(at_)); }
  void skip() {
    while (std::isspace(now()) || now() == '#') {
      if (now() == '#') {
        while (at_ < reader_.size() && now() != '\n') ++at_;
      } else {
        ++at_;
      }
    }
  }

  ByteReader reader_;
  std::size_t at_ = 2;  // behind "P6"
};

}  // namespace

Size PpmDecoder::open(std::span<const std::byte> encoded, const DecodeLimits& limits) {
  Header header(encoded);
  size_.width = header.number();
  size_.height = header.number();
  const int64_t largest = header.number();
  header.end();
  check_pixels(size_, limits);
  if (largest != 255) unsupported("PPM of other than 8 bits");
  const auto bytes = static_cast<std::size_t>(size_.height * size_.width * kChannels);
  pixels_ = encoded.subspan(header.at());
  if (pixels_.size() < bytes) unreadable("PPM", "it ends before its last pixel");
  return size_;
}

Region PpmDecoder::decode(const Region& region, Image& out) const {
  out.resize({region.height, region.width});
  for (int64_t y = 0; y < region.height; ++y) {
    const int64_t first = ((region.top + y) * size_.width + region.left) * kChannels;
    std::memcpy(out.row(y), pixels_.data() + first, static_cast<std::size_t>(out.stride()));
  }
  return region;
}

}  // namespace helip::image
