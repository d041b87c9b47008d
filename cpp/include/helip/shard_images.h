// The images of tar shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "helip/export.h"
#include "helip/image_source.h"
#include "helip/sample_index.h"

namespace helip {

// Reads the image members of an index.
class HELIP_EXPORT ShardImages : public ImageSource {
 public:
  explicit ShardImages(SampleIndex index) : index_(std::move(index)) {}
  ~ShardImages() override;

  [[nodiscard]] std::int64_t size() const noexcept override { return index_.size(); }
  void read(std::int64_t row, std::vector<std::byte>& out) const override;
  void will_need(std::span<const std::int64_t> rows) const noexcept override;

 private:
  SampleIndex index_;
};

}  // namespace helip
