#include "mine/graph/index_rows.h"

#include <algorithm>
#include <cstring>

#include "base/half.h"

namespace helip::mining {
namespace {

constexpr std::int64_t kCopyGrain = 256;

// float16 as it is, anything else as a unit vector.
void keep(const MatrixView& given, const Rows& rows, std::int64_t row, std::vector<float>& unit,
          LoadedRow& buffer, char* out) {
  const std::int64_t dimensions = given.cols;
  const bool deleted = given.deleted != nullptr && given.deleted[row] != 0;
  if (given.dtype == DType::float16 && !deleted) {
    std::memcpy(out, given.row(row), static_cast<std::size_t>(2 * dimensions));
    return;
  }
  unit.resize(static_cast<std::size_t>(dimensions));
  rows.unit(row, unit.data(), buffer);
  for (std::int64_t i = 0; i < dimensions; ++i) {
    const std::uint16_t half = float16_from_float(unit[static_cast<std::size_t>(i)]);
    std::memcpy(out + 2 * i, &half, 2);
  }
}

}  // namespace

void RowBytes::reserve(std::int64_t rows, std::int64_t capacity) {
  if (owned_ && capacity <= capacity_) return;
  if (owned_) capacity = std::max(capacity, capacity_ + capacity_ / 2);
  auto larger = allocate_aligned<char>(std::max<std::int64_t>(1, capacity * width_));
  if (rows > 0) std::memcpy(larger.get(), data_, static_cast<std::size_t>(rows * width_));
  owned_ = std::move(larger);
  data_ = owned_.get();
  capacity_ = capacity;
}

IndexRows::IndexRows(std::int64_t image_dimensions, std::int64_t text_dimensions,
                     const Kernel& kernel)
    : image_dimensions_(image_dimensions),
      text_dimensions_(text_dimensions),
      codec_(image_dimensions, text_dimensions, false, kernel),
      ids_(sizeof(std::int64_t)),
      image_(2 * image_dimensions),
      text_(2 * text_dimensions),
      codes_(codec_.bytes()) {}

std::int64_t IndexRows::bytes_per_row() const noexcept {
  return ids_.width() + image_.width() + text_.width() + codes_.width();
}

bool IndexRows::is_zero(std::int64_t i) const noexcept {
  const auto zero = [i](const RowBytes& rows) {
    const char* begin = rows.row(i);
    // Either sign of zero.
    for (std::int64_t at = 0; at < rows.width(); at += 2) {
      if (begin[at] != 0 || (begin[at + 1] & 0x7f) != 0) return false;
    }
    return true;
  };
  return zero(image_) || zero(text_);
}

void IndexRows::show(std::int64_t size, const MatrixView& ids, const MatrixView& image,
                     const MatrixView& text, const MatrixView& codes) noexcept {
  size_ = size;
  ids_.show(ids.data);
  image_.show(image.data);
  text_.show(text.data);
  codes_.show(codes.data);
}

void IndexRows::append(const Corpus& corpus, const MatrixView& image, const MatrixView& text,
                       std::span<const std::int64_t> ids, Team& team) {
  const std::int64_t count = corpus.size();
  for (RowBytes* rows : {&ids_, &image_, &text_, &codes_}) rows->reserve(size_, size_ + count);
  if (count == 0) return;
  std::memcpy(ids_.mutable_row(size_), ids.data(), ids.size_bytes());
  team.for_blocks(count, kCopyGrain, [&](std::int64_t row, std::int64_t end, int) {
    std::vector<float> unit;
    LoadedRow buffer;
    PairCodec::Buffers coding;
    for (; row < end && !team.stopped(); ++row) {
      keep(image, *corpus.image(), row, unit, buffer, image_.mutable_row(size_ + row));
      keep(text, *corpus.text(), row, unit, buffer, text_.mutable_row(size_ + row));
      codec_.encode(corpus, row, coding,
                    reinterpret_cast<std::int8_t*>(codes_.mutable_row(size_ + row)));
    }
  });
  size_ += count;
}

}  // namespace helip::mining
