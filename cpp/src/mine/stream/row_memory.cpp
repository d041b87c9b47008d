#include "mine/stream/row_memory.h"

#include <algorithm>
#include <utility>

namespace helip::mining {

RowMemory::RowMemory(std::int64_t image_dim, std::int64_t text_dim, std::int64_t capacity)
    : image_dim_(image_dim),
      text_dim_(text_dim),
      capacity_(capacity),
      image_(allocate_aligned<float>(capacity * image_dim)),
      text_(allocate_aligned<float>(capacity * text_dim)) {
  slots_.reserve(static_cast<std::size_t>(capacity));
}

StreamRow RowMemory::row(std::uint32_t slot) const noexcept {
  const Slot& found = slots_[slot];
  return {found.id, image_.get() + slot * image_dim_, text_.get() + slot * text_dim_,
          found.image_length, found.text_length};
}

void RowMemory::put(std::span<const StreamRow> rows, const Placed& placed) {
  // Whatever may throw comes first.
  Places fresh;
  for (const StreamRow& row : rows) fresh.try_emplace(row.id, 0);
  slot_of_.reserve(std::min(slots_.size() + rows.size(), static_cast<std::size_t>(capacity_)));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const StreamRow& row = rows[i];
    const auto known = slot_of_.find(row.id);
    const std::uint32_t slot =
        known == slot_of_.end() ? take_slot(fresh.extract(row.id)) : known->second;
    if (known != slot_of_.end()) unlink(slot);
    Slot& to = slots_[slot];
    to.id = row.id;
    to.image_length = row.image_length;
    to.text_length = row.text_length;
    std::copy_n(row.image, image_dim_, image_.get() + slot * image_dim_);
    std::copy_n(row.text, text_dim_, text_.get() + slot * text_dim_);
    link_newest(slot);
    if (placed) placed(i, slot);
  }
}

// For a new id: a free slot, else that of the oldest row, which is forgotten.
std::uint32_t RowMemory::take_slot(Places::node_type place) noexcept {
  std::uint32_t slot = oldest_;
  if (size() < capacity_) {
    slot = static_cast<std::uint32_t>(size());
    slots_.emplace_back();
  } else {
    slot_of_.erase(slots_[slot].id);
    unlink(slot);
  }
  place.mapped() = slot;
  slot_of_.insert(std::move(place));
  return slot;
}

void RowMemory::clear() noexcept {
  slots_.clear();
  slot_of_.clear();
  oldest_ = newest_ = kNone;
}

void RowMemory::unlink(std::uint32_t slot) noexcept {
  const auto [older, newer] = std::pair(slots_[slot].older, slots_[slot].newer);
  (older == kNone ? oldest_ : slots_[older].newer) = newer;
  (newer == kNone ? newest_ : slots_[newer].older) = older;
}

void RowMemory::link_newest(std::uint32_t slot) noexcept {
  slots_[slot].older = newest_;
  slots_[slot].newer = kNone;
  (newest_ == kNone ? oldest_ : slots_[newest_].newer) = slot;
  newest_ = slot;
}

}  // namespace helip::mining
