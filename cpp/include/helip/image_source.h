// Where the encoded images of a data set come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "helip/export.h"

namespace helip {

// The encoded images of rows 0 .. size() - 1. Thread-safe.
class HELIP_EXPORT ImageSource {
 public:
  virtual ~ImageSource();

  [[nodiscard]] virtual std::int64_t size() const noexcept = 0;
  // Replaces `out` by the bytes of one image's file. Throws SampleError where this row has none
  // that can be read: "missing_image", "too_large", "outside_root" or "io".
  virtual void read(std::int64_t row, std::vector<std::byte>& out) const = 0;
  // A hint that these rows will be read soon, so that the system can fetch them meanwhile.
  virtual void will_need(std::span<const std::int64_t> rows) const noexcept;
  // How many rows it wants to be told of at a time; from one to two times as many are then fetched
  // while one is decoded. 16 unless it says otherwise; more where a read takes long to come.
  [[nodiscard]] virtual std::int64_t rows_ahead() const noexcept;
};

}  // namespace helip
