#include "helip/data_fingerprint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/text.h"
#include "io/checksum.h"

namespace helip {
namespace {

constexpr int kHalf = 32;
constexpr std::uint64_t kLow = std::numeric_limits<std::uint32_t>::max();

std::uint64_t not_zero(std::uint64_t hash) noexcept { return hash == 0 ? 1 : hash; }

// A digest over one number a row, and whether any of them is known.
class Part {
 public:
  void add(std::uint64_t value) {
    std::array<unsigned char, sizeof value> bytes;  // little-endian on every machine
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<unsigned char>(value >> (8 * i));
    }
    digest_.update(bytes.data(), bytes.size());
    known_ = known_ || value != 0;
  }
  std::string text() const { return known_ ? digest_.hex().substr(0, 16) : "0"; }

 private:
  Digest digest_;
  bool known_ = false;
};

}  // namespace

std::uint64_t caption_digest(std::string_view caption) noexcept {
  caption = trimmed(caption);
  return not_zero(XXH3_64bits(caption.data(), caption.size()));
}

std::uint64_t image_digest(std::int64_t bytes, std::string_view tail) noexcept {
  const std::uint64_t size =
      bytes <= 0 ? 0 : std::min<std::uint64_t>(static_cast<std::uint64_t>(bytes), kLow);
  if (tail.empty()) return size;
  return (not_zero(XXH3_64bits(tail.data(), tail.size()) & kLow) << kHalf) | size;
}

bool may_be_same_image(std::uint64_t a, std::uint64_t b) noexcept {
  const auto agree = [](std::uint64_t x, std::uint64_t y) { return x == 0 || y == 0 || x == y; };
  return agree(a & kLow, b & kLow) && agree(a >> kHalf, b >> kHalf);
}

struct DataFingerprint::State {
  Digest keys;
  Part captions;
  Part sizes;
  Part ends;
};

DataFingerprint::DataFingerprint() : state_(std::make_unique<State>()) {}
DataFingerprint::~DataFingerprint() = default;
DataFingerprint::DataFingerprint(DataFingerprint&&) noexcept = default;
DataFingerprint& DataFingerprint::operator=(DataFingerprint&&) noexcept = default;

void DataFingerprint::add(std::string_view key, std::uint64_t image, std::uint64_t caption) {
  state_->keys.update_field(key);
  state_->captions.add(caption);
  state_->sizes.add(image & kLow);
  state_->ends.add(image >> kHalf);
}

std::string DataFingerprint::keys() const { return state_->keys.hex(); }

std::string DataFingerprint::text() const {
  return keys() + '-' + state_->captions.text() + '-' + state_->sizes.text() + '-' +
         state_->ends.text();
}

}  // namespace helip
