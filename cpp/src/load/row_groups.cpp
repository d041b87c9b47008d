#include "helip/row_groups.h"

#include <algorithm>

#include "base/refuse.h"

namespace helip {

void RowGroups::check(std::int64_t rows) const {
  if (offsets.empty() && groups.empty()) return;
  if (static_cast<std::int64_t>(offsets.size()) != rows + 1) {
    refuse("the groups have ", offsets.size(), " offsets, must have ", rows + 1,
           ": one for each row of the table and one for the end");
  }
  if (offsets.front() != 0 || !std::is_sorted(offsets.begin(), offsets.end()) ||
      offsets.back() != static_cast<std::int64_t>(groups.size())) {
    refuse("the offsets of groups must rise from 0 to the number of groups, which is ",
           groups.size());
  }
}

}  // namespace helip
