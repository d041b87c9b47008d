// Which rows of a store are deleted, commit by commit: a batch is never changed once committed, so
// the first ones tell what was deleted at an earlier time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "io/json.h"

namespace helip {

class Tombstones {
 public:
  Tombstones() = default;
  // What to_json() gave, of a store of `rows` rows. Throws std::exception with what is wrong.
  Tombstones(const Json& json, std::int64_t rows);

  // {"count", "digest", "batches"}: a batch is a text of ranges, "3,5-9".
  Json to_json() const;

  bool empty() const noexcept { return batches_.empty(); }
  std::size_t batches() const noexcept { return batches_.size(); }
  // Rows of the first `batches` batches, ascending.
  std::vector<std::int64_t> rows(std::size_t batches) const;
  std::vector<std::int64_t> rows() const { return rows(batches()); }
  // [batches]: over the texts of all batches up to each of them.
  std::vector<std::string> digests() const;

  // A batch of rows that are in none yet, ascending, not empty.
  void add(std::vector<std::int64_t> rows);

 private:
  std::vector<std::vector<std::int64_t>> batches_;
};

}  // namespace helip
