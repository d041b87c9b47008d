// The rows that came last, each id once: what streaming mines from.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

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

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(slots_.size()); }
  std::int64_t capacity() const noexcept { return capacity_; }
  bool holds(std::int64_t id) const { return slot_of_.contains(id); }
  StreamRow row(std::uint32_t slot) const noexcept;

  // Copies rows of different ids, one after the other. Each is the newest then: in the place of the
  // row of that id, else of the oldest where the memory is full; placed(i, slot) is told of each,
  // and throws nothing. All of them, or none where an allocation fails.
  using Placed = std::function<void(std::size_t row, std::uint32_t slot)>;
  void put(std::span<const StreamRow> rows, const Placed& placed = {});
  void clear() noexcept;

  // Calls visit(row) for each row, from the oldest to the newest.
  template <typename Visit>
  void visit(Visit visit) const {
    for (std::uint32_t slot = oldest_; slot != kNone; slot = slots_[slot].newer) visit(row(slot));
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  struct Slot {
    std::int64_t id;
    double image_length, text_length;
    std::uint32_t older, newer;
  };

  using Places = std::unordered_map<std::int64_t, std::uint32_t>;  // id -> slot

  std::uint32_t take_slot(Places::node_type place) noexcept;
  void unlink(std::uint32_t slot) noexcept;
  void link_newest(std::uint32_t slot) noexcept;

  const std::int64_t image_dim_, text_dim_, capacity_;
  // Reserved whole, touched as rows come.
  AlignedArray<float> image_, text_;  // [capacity, dim]
  std::vector<Slot> slots_;
  std::uint32_t oldest_ = kNone, newest_ = kNone;
  Places slot_of_;
};

}  // namespace helip::mining
