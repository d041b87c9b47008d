// What a sampler draws from: a finished table, or one that grows meanwhile.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "helip/growing_pairs.h"
#include "helip/hard_pairs.h"
#include "io/mapped_files.h"

namespace helip::load {

class PairSource {
 public:
  explicit PairSource(HardPairs table) : table_(std::move(table)) {}
  explicit PairSource(std::shared_ptr<const GrowingPairs> growing) : growing_(std::move(growing)) {}

  // Throws corrupt where a file of the table became shorter while it was read.
  void require_whole() const {
    if (table_) helip::require_whole(table_->ids().data);
  }

  bool grows() const noexcept { return growing_ != nullptr; }
  std::int64_t size() const noexcept { return growing_ ? growing_->size() : table_->size(); }
  std::int64_t k() const noexcept { return growing_ ? growing_->k() : table_->k(); }
  std::int32_t count(std::int64_t target) const noexcept {
    return growing_ ? growing_->count(target) : table_->count(target);
  }
  std::int64_t id(std::int64_t target, std::int64_t rank) const noexcept {
    return growing_ ? growing_->id(target, rank) : table_->id(target, rank);
  }
  float score(std::int64_t target, std::int64_t rank) const noexcept {
    return growing_ ? growing_->score(target, rank) : table_->score(target, rank);
  }

 private:
  std::optional<HardPairs> table_;
  std::shared_ptr<const GrowingPairs> growing_;
};

}  // namespace helip::load
