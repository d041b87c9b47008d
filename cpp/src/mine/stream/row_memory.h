// The rows that came last, each id once: what streaming mines from.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <unordered_map>

#include "base/aligned.h"

namespace helip::mining {

// A pair of embeddings where it lies, with the lengths of both in float64.
struct StreamRow {
  std::int64_t id;
  const float* image;  // [image_dim]
  const float* text;   // [text_dim]
  double image_length, text_length;
};

// Not thread-safe while rows are put.
class RowMemory {
 public:
  RowMemory(std::int64_t image_dim, std::int64_t text_dim, std::int64_t capacity);

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(places_.size()); }
  bool holds(std::int64_t id) const { return places_.contains(id); }
  const std::list<StreamRow>& rows() const noexcept { return rows_; }  // from oldest to newest

  // Copies rows of different ids, one after the other. Each is the newest then: in the place of the
  // row of that id, else of the oldest where the memory is full. All of them, or none where an
  // allocation fails.
  void put(std::span<const StreamRow> rows);
  void clear() noexcept;

 private:
  const std::int64_t image_dim_, text_dim_, capacity_;
  // Reserved whole, touched as rows come.
  AlignedArray<float> image_, text_;  // [capacity, dim]
  std::list<StreamRow> rows_;
  std::unordered_map<std::int64_t, std::list<StreamRow>::iterator> places_;  // of each id
};

}  // namespace helip::mining
