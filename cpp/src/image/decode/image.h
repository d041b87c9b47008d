// Eight-bit RGB pixels, and the words that the room of images shares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace helip::image {

using std::int64_t;
using std::uint8_t;

inline constexpr int64_t kChannels = 3;

// Kernels read and write whole vectors: this many bytes past the last pixel belong to the buffer.
inline constexpr std::size_t kSlack = 128;

struct Size {
  int64_t height = 0;
  int64_t width = 0;
  bool operator==(const Size&) const = default;
};

// Rows top .. top + height - 1 and columns left .. left + width - 1.
struct Region {
  int64_t top = 0;
  int64_t left = 0;
  int64_t height = 0;
  int64_t width = 0;
  bool operator==(const Region&) const = default;
};

// Bytes that keep their memory when they are asked for again; not initialised.
class Bytes {
 public:
  uint8_t* reserve(std::size_t size) {
    if (size + kSlack > capacity_) {
      data_.reset();
      capacity_ = 0;
      data_.reset(new uint8_t[size + kSlack]);
      capacity_ = size + kSlack;
    }
    return data_.get();
  }
  uint8_t* data() noexcept { return data_.get(); }
  const uint8_t* data() const noexcept { return data_.get(); }
  std::size_t capacity() const noexcept { return capacity_; }
  // One huge image shall not hold its memory for the rest of a run.
  void release_above(std::size_t bytes) noexcept {
    if (capacity_ > bytes + kSlack) {
      data_.reset();
      capacity_ = 0;
    }
  }

 private:
  std::unique_ptr<uint8_t[]> data_;
  std::size_t capacity_ = 0;
};

// height x width x 3 without gaps. Resizing keeps the memory and forgets the pixels.
class Image {
 public:
  void resize(Size size) {
    bytes_.reserve(static_cast<std::size_t>(size.height * size.width * kChannels));
    size_ = size;
  }
  Size size() const noexcept { return size_; }
  int64_t height() const noexcept { return size_.height; }
  int64_t width() const noexcept { return size_.width; }
  int64_t stride() const noexcept { return size_.width * kChannels; }  // bytes from row to row
  int64_t pixels() const noexcept { return size_.height * size_.width; }
  uint8_t* data() noexcept { return bytes_.data(); }
  const uint8_t* data() const noexcept { return bytes_.data(); }
  uint8_t* row(int64_t y) noexcept { return bytes_.data() + y * stride(); }
  const uint8_t* row(int64_t y) const noexcept { return bytes_.data() + y * stride(); }
  std::size_t readable() const noexcept { return bytes_.capacity(); }
  void release_above(std::size_t bytes) noexcept {
    bytes_.release_above(bytes);
    if (bytes_.data() == nullptr) size_ = {};
  }

 private:
  Bytes bytes_;
  Size size_;
};

}  // namespace helip::image
