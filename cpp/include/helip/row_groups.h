// Which rows of a data set are equal, such as rows with the same caption.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "helip/export.h"

namespace helip {

// Each row has any number of groups, and two rows are equal where they share one.
struct HELIP_EXPORT RowGroups {
  std::vector<std::int64_t> offsets;  // [rows + 1] rising from 0; empty: no row equals another
  std::vector<std::int64_t> groups;   // [offsets.back()] any numbers; row i has those from
                                      // offsets[i] to before offsets[i + 1]

  [[nodiscard]] std::span<const std::int64_t> of(std::int64_t row) const noexcept {
    if (offsets.empty()) return {};
    const auto begin = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row)]);
    const auto end = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row) + 1]);
    return {groups.data() + begin, end - begin};
  }
  // Throws invalid_argument unless offsets are empty, or those of so many rows and all of groups.
  void check(std::int64_t rows) const;
};

}  // namespace helip
