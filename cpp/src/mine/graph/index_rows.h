// The pairs of an index: ids, float16 rows and int8 codes, in memory or mapped.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/aligned.h"
#include "base/team.h"
#include "helip/matrix.h"
#include "mine/corpus/corpus.h"
#include "mine/graph/pair_codes.h"

namespace helip::mining {

// Rows of one width that lie one after the other, from a cache line on.
class RowBytes {
 public:
  explicit RowBytes(std::int64_t width) : width_(width) {}

  std::int64_t width() const noexcept { return width_; }
  const char* row(std::int64_t i) const noexcept { return data_ + i * width_; }
  // Shows rows that somebody else owns; reserve() copies them.
  void show(const void* data) noexcept { data_ = static_cast<const char*>(data); }
  // Room for `capacity` rows, of which the first `rows` are kept.
  void reserve(std::int64_t rows, std::int64_t capacity);
  // After reserve().
  char* mutable_row(std::int64_t i) noexcept { return owned_.get() + i * width_; }

 private:
  std::int64_t width_;
  const char* data_ = nullptr;
  AlignedArray<char> owned_;
  std::int64_t capacity_ = 0;
};

class IndexRows {
 public:
  IndexRows(std::int64_t image_dimensions, std::int64_t text_dimensions, const Kernel& kernel);

  std::int64_t size() const noexcept { return size_; }
  std::int64_t image_dimensions() const noexcept { return image_dimensions_; }
  std::int64_t text_dimensions() const noexcept { return text_dimensions_; }
  std::int64_t bytes_per_row() const noexcept;

  std::int64_t id(std::int64_t i) const noexcept {
    return *reinterpret_cast<const std::int64_t*>(ids_.row(i));
  }
  // The rows as they are kept, float16 [size, dimensions].
  MatrixView image() const noexcept { return view(image_, image_dimensions_); }
  MatrixView text() const noexcept { return view(text_, text_dimensions_); }
  // Whether the pair has no direction in one of the modalities.
  bool is_zero(std::int64_t i) const noexcept;
  const PairCodec& codec() const noexcept { return codec_; }
  PairCodeView codes() const noexcept {
    return {&codec_, reinterpret_cast<const std::int8_t*>(codes_.row(0))};
  }
  const RowBytes& id_bytes() const noexcept { return ids_; }
  const RowBytes& code_bytes() const noexcept { return codes_; }

  // Columns of a saved index; their owner must outlive this.
  void show(std::int64_t size, const MatrixView& ids, const MatrixView& image,
            const MatrixView& text, const MatrixView& codes) noexcept;
  // Appends the pairs of a measured corpus, whose matrices these are. All or nothing.
  void append(const Corpus& corpus, const MatrixView& image, const MatrixView& text,
              std::span<const std::int64_t> ids, Team& team);
  void truncate(std::int64_t size) noexcept { size_ = size; }

 private:
  MatrixView view(const RowBytes& rows, std::int64_t dimensions) const noexcept {
    return {rows.row(0), size_, dimensions, DType::float16, rows.width(), nullptr};
  }

  const std::int64_t image_dimensions_, text_dimensions_;
  const PairCodec codec_;
  std::int64_t size_ = 0;
  RowBytes ids_, image_, text_, codes_;
};

}  // namespace helip::mining
