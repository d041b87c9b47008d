#include "table/store/key_set.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <utility>

namespace helip {
namespace {

std::uint64_t hash_of(std::string_view key) {
  const std::uint64_t hash = XXH3_64bits(key.data(), key.size());
  return hash == 0 ? 1 : hash;
}

}  // namespace

void KeySet::reserve(std::size_t more) {
  const std::size_t wanted = 2 * (used_ + more);
  if (wanted <= slots_.size()) return;
  std::size_t size = std::max<std::size_t>(1024, slots_.size());
  while (size < wanted) size *= 2;
  const auto old = std::exchange(slots_, std::vector<std::uint64_t>(size));
  used_ = 0;
  for (const std::uint64_t hash : old) {
    if (hash != 0) insert_hash(hash);
  }
}

void KeySet::insert(std::string_view key) {
  reserve(1);
  insert_hash(hash_of(key));
}

void KeySet::insert_hash(std::uint64_t hash) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at] != 0 && slots_[at] != hash) at = (at + 1) & mask;
  if (slots_[at] == 0) ++used_;
  slots_[at] = hash;
}

bool KeySet::contains(std::string_view key) const {
  if (slots_.empty()) return false;
  const std::uint64_t hash = hash_of(key);
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash & mask;
  while (slots_[at] != 0 && slots_[at] != hash) at = (at + 1) & mask;
  return slots_[at] == hash;
}

}  // namespace helip
