// The 64-bit hashes of all keys of a store: eight bytes a slot, so that a hundred million keys fit.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace helip {

class KeySet {
 public:
  // Makes room for as many more, so that inserting them allocates nothing.
  void reserve(std::size_t more);
  void insert(std::string_view key);
  // True when a key of the same hash was inserted: almost always the key itself.
  bool contains(std::string_view key) const;

 private:
  void insert_hash(std::uint64_t hash);

  std::vector<std::uint64_t> slots_;  // 0 is empty; open addressing, at most half full
  std::size_t used_ = 0;
};

}  // namespace helip
