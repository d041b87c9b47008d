// Small tables of hard pairs, and what tests ask of the batches that are made of them.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "helip/batch_sampler.h"
#include "helip/error.h"
#include "helip/hard_pairs.h"

namespace helip::test {

// pools[i] are the hard pairs of row i, best first; scores fall by `step` from 0.9.
inline HardPairs table(const std::vector<std::vector<std::int64_t>>& pools, std::int64_t k,
                       float step = 0.05F) {
  const auto rows = static_cast<std::int64_t>(pools.size());
  std::vector<std::int64_t> ids(static_cast<std::size_t>(rows * k), -1);
  std::vector<float> scores(ids.size(), 0.0F);
  std::vector<std::int32_t> counts;
  for (std::size_t row = 0; row < pools.size(); ++row) {
    counts.push_back(static_cast<std::int32_t>(pools[row].size()));
    for (std::size_t rank = 0; rank < pools[row].size(); ++rank) {
      ids[row * static_cast<std::size_t>(k) + rank] = pools[row][rank];
      scores[row * static_cast<std::size_t>(k) + rank] = 0.9F - step * static_cast<float>(rank);
    }
  }
  return HardPairs::from_arrays({ids.data(), rows, k, DType::int64, k * 8, nullptr},
                                {scores.data(), rows, k, DType::float32, k * 4, nullptr},
                                {counts.data(), rows, 1, DType::int32, 4, nullptr}, {});
}

// Row i's pool: the k rows that follow it.
inline HardPairs ring(std::int64_t rows, std::int64_t k) {
  std::vector<std::vector<std::int64_t>> pools(static_cast<std::size_t>(rows));
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t j = 1; j <= k; ++j) {
      pools[static_cast<std::size_t>(row)].push_back((row + j) % rows);
    }
  }
  return table(pools, k);
}

// Rows 0 .. targets - 1 have pools of `k` rows that are nobody else's; the rest have none. So no
// hard pair is ever in a batch already.
inline HardPairs disjoint(std::int64_t targets, std::int64_t k, float step = 0.05F) {
  std::vector<std::vector<std::int64_t>> pools(static_cast<std::size_t>(targets * (1 + k)));
  for (std::int64_t row = 0; row < targets; ++row) {
    for (std::int64_t j = 0; j < k; ++j) {
      pools[static_cast<std::size_t>(row)].push_back(targets + row * k + j);
    }
  }
  return table(pools, k, step);
}

// `number` groups of `size` rows; the members of group g are the rows that leave the remainder g,
// and each has all others of its group in its pool.
inline HardPairs groups_of_rows(std::int64_t number, std::int64_t size) {
  std::vector<std::vector<std::int64_t>> pools(static_cast<std::size_t>(number * size));
  for (std::int64_t row = 0; row < number * size; ++row) {
    for (std::int64_t j = 1; j < size; ++j) {
      pools[static_cast<std::size_t>(row)].push_back((row + j * number) % (number * size));
    }
  }
  return table(pools, size - 1, 0.001F);
}

// Rows that serve themselves: the targets, but for strategies that let targets serve each other.
inline std::vector<std::int64_t> targets_of(const BatchRows& batch) {
  std::vector<std::int64_t> rows;
  for (std::size_t place = 0; place < batch.index.size(); ++place) {
    if (batch.target[place] == static_cast<std::int64_t>(place)) rows.push_back(batch.index[place]);
  }
  return rows;
}

// target row -> its hard rows, in their order in the batch
inline std::map<std::int64_t, std::vector<std::int64_t>> hard_of(const BatchRows& batch) {
  std::map<std::int64_t, std::vector<std::int64_t>> hard;
  for (std::size_t place = 0; place < batch.index.size(); ++place) {
    if (batch.target[place] == static_cast<std::int64_t>(place)) continue;
    hard[batch.index[static_cast<std::size_t>(batch.target[place])]].push_back(batch.index[place]);
  }
  return hard;
}

// The first rows of a batch, as many as the sampler counted targets.
inline std::vector<std::int64_t> next_targets(BatchSampler& sampler, std::int64_t step) {
  const std::int64_t before = sampler.statistics().targets;
  const BatchRows batch = sampler.batch(step);
  const std::int64_t targets = sampler.statistics().targets - before;
  return {batch.index.begin(), batch.index.begin() + targets};
}

inline std::vector<BatchRows> epoch_of(BatchSampler& sampler) {
  std::vector<BatchRows> batches;
  for (std::int64_t step = 0; step < sampler.batches_per_epoch(); ++step) {
    batches.push_back(sampler.batch(step));
  }
  return batches;
}

// FNV-1a over every number, for orders that are frozen.
inline std::uint64_t digest(const std::vector<BatchRows>& batches) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const BatchRows& batch : batches) {
    for (const auto* column : {&batch.index, &batch.target}) {
      for (const std::int64_t value : *column) {
        hash = (hash ^ static_cast<std::uint64_t>(value)) * 0x100000001b3ULL;
      }
    }
  }
  return hash;
}

inline void refuses(const HardPairs& pairs, const BatchOptions& options, const std::string& part) {
  try {
    BatchSampler sampler(pairs, options);
    FAIL("accepted where a refusal with '" << part << "' was due");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_argument);
    CHECK_THAT(error.what(), Catch::Matchers::ContainsSubstring(part));
  }
}

}  // namespace helip::test
