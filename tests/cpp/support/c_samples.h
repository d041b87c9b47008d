// Matrices of C over the rows of tests.
#pragma once

#include <helip.h>

#include <cstdint>
#include <vector>

#include "support/store_samples.h"

namespace helip {

inline helip_matrix c_matrix(const std::vector<float>& values, std::int64_t cols) {
  return {values.data(), static_cast<std::int64_t>(values.size()) / cols,
          cols,          0,
          nullptr,       nullptr,
          HELIP_FLOAT32, 0};
}

inline helip_matrix c_image(const StoreRows& rows) { return c_matrix(rows.image, rows.d_image); }
inline helip_matrix c_text(const StoreRows& rows) { return c_matrix(rows.text, rows.d_text); }

template <typename Struct>
Struct initialised(helip_status (*init)(Struct*, std::size_t)) {
  Struct made{};
  (void)init(&made, sizeof made);
  return made;
}

}  // namespace helip
