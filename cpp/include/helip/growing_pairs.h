// A table of hard pairs that grows while batches are drawn from it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "helip/export.h"
#include "helip/hard_pairs.h"

namespace helip {

// For each row of a data set the k best pairs that were offered so far, in the order (score
// falling, id rising). Takes rows · (8·k + 4) bytes, pages that no row was written to aside. Not
// thread-safe.
class HELIP_EXPORT GrowingPairs {
 public:
  // Throws invalid_argument: rows outside 0 .. 2^31 - 1, k below 1. out_of_memory.
  GrowingPairs(std::int64_t rows, std::int64_t k);
  ~GrowingPairs();
  GrowingPairs(const GrowingPairs&) = delete;
  GrowingPairs& operator=(const GrowingPairs&) = delete;

  // Pools that a miner found: row i of `found` is that of targets[i]. Each pair is offered to both
  // of its rows, since its score is the same from either side. A pair that is there already takes
  // the new score. Throws invalid_argument, and changes nothing, where a row is not of this table.
  void offer(const std::vector<std::int64_t>& targets, const HardPairBand& found);
  // Puts these pools in place of those that their targets have.
  void assign(const std::vector<std::int64_t>& targets, const HardPairBand& pools);
  void clear() noexcept;

  [[nodiscard]] std::int64_t size() const noexcept;
  [[nodiscard]] std::int64_t k() const noexcept;
  [[nodiscard]] std::int64_t known() const noexcept;  // rows with at least one pair
  [[nodiscard]] std::int64_t pairs() const noexcept;  // in all pools together
  [[nodiscard]] std::int32_t count(std::int64_t target) const noexcept;
  [[nodiscard]] std::int64_t id(std::int64_t target, std::int64_t rank) const noexcept;
  [[nodiscard]] float score(std::int64_t target, std::int64_t rank) const noexcept;

  // The pools of these targets.
  [[nodiscard]] HardPairBand pools(const std::vector<std::int64_t>& targets) const;
  // Rows with at least one pair, rising.
  [[nodiscard]] std::vector<std::int64_t> known_targets() const;
  // What is known now, as a table.
  [[nodiscard]] HardPairs table(HardPairs::Origin origin) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace helip
