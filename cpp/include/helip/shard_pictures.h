// The pictures of tar shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "helip/export.h"
#include "helip/picture_source.h"
#include "helip/sample_index.h"

namespace helip {

// Reads the picture members of an index.
class HELIP_EXPORT ShardPictures : public PictureSource {
 public:
  explicit ShardPictures(SampleIndex index) : index_(std::move(index)) {}
  ~ShardPictures() override;

  std::int64_t size() const noexcept override { return index_.size(); }
  void read(std::int64_t row, std::vector<std::byte>& out) const override;
  void will_need(std::int64_t row) const noexcept override;

 private:
  SampleIndex index_;
};

}  // namespace helip
