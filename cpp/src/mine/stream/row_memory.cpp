#include "mine/stream/row_memory.h"

#include <algorithm>
#include <utility>

namespace helip::mining {

RowMemory::RowMemory(std::int64_t image_dim, std::int64_t text_dim, std::int64_t capacity)
    : image_dim_(image_dim),
      text_dim_(text_dim),
      capacity_(capacity),
      image_(allocate_aligned<float>(capacity * image_dim)),
      text_(allocate_aligned<float>(capacity * text_dim)) {}

void RowMemory::put(std::span<const StreamRow> rows) {
  // Whatever may throw comes first: nodes for the rows that a memory which is not full grows by.
  std::list<StreamRow> free;
  decltype(places_) fresh;
  for (const StreamRow& row : rows) {
    const auto next = size() + static_cast<std::int64_t>(free.size());
    if (next == capacity_ || holds(row.id)) continue;
    free.push_back(
        {row.id, image_.get() + next * image_dim_, text_.get() + next * text_dim_, 0, 0});
    fresh.emplace(row.id, std::prev(free.end()));
  }
  places_.reserve(places_.size() + fresh.size());
  for (const StreamRow& row : rows) {
    auto known = places_.find(row.id);
    if (known == places_.end()) {
      // Of a new id, or of the oldest row, which is forgotten.
      auto place = free.empty() ? places_.extract(rows_.front().id) : fresh.extract(row.id);
      if (!free.empty()) rows_.splice(rows_.begin(), free, free.begin());
      place.key() = row.id;
      place.mapped() = rows_.begin();
      known = places_.insert(std::move(place)).position;
    }
    StreamRow& to = *known->second;
    std::copy_n(row.image, image_dim_, image_.get() + (to.image - image_.get()));
    std::copy_n(row.text, text_dim_, text_.get() + (to.text - text_.get()));
    to = {row.id, to.image, to.text, row.image_length, row.text_length};
    rows_.splice(rows_.end(), rows_, known->second);
  }
}

void RowMemory::clear() noexcept {
  rows_.clear();
  places_.clear();
}

}  // namespace helip::mining
